"""The fine-tuning pipeline: audit, train, merge."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
