"""Models: loading, table of architectures, hooks on the stream, text and generation."""
