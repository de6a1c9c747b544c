"""Formats for CPUs beside the project's own graphs: onnxruntime-genai in four bits, and GGUF."""
