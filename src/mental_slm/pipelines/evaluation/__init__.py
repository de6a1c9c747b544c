"""Evaluation: generate, parse, score and summarise, always beside trivial baselines."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
