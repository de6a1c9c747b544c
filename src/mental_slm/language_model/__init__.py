"""The one place that knows models: source, chat rendering, loading and generation."""
