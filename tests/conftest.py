"""Shapes are checked in tests only: jaxtyping instruments the package before it is imported."""

import os

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("conceptbasis.core", "beartype.beartype")
