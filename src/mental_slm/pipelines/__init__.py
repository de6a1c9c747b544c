"""The pipelines, one folder each. None imports another."""
