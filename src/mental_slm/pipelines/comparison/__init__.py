"""Comparison: every evaluated model in one table and one figure."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
