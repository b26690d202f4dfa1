"""conceptbasis: rebuild a refusal intervention of a donor model in a target model."""

__version__ = "0.1.0"
