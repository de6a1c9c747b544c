"""Mental SLM: small language models for mental-health text, from public data to a phone."""

__version__ = "0.1.0"
