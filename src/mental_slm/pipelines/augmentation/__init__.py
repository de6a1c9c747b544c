"""Augmentation: from the corpus to instruction pairs, by way of a teacher."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
