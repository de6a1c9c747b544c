"""Ingestion: public files to one clean, split, leak-free corpus."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
