"""Models: loading, table of architectures, hooks on the stream, text and generation."""

import warnings

# Libraries of models import tqdm's bars for notebooks; ours are others, so nothing is missing.
warnings.filterwarnings("ignore", message="IProgress not found")
