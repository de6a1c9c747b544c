"""A reference system: any OpenAI-compatible server that answers the same items."""
