"""The sweep pipeline: learning rate, rank and scale of the adapter, searched by short trainings."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
