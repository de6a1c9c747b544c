"""Deployment: export, quantise, compare with the original, and pack what a phone needs."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
