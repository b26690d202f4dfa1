"""Edits of tiny models, and what is compared of an exported one: logits and greedy tokens."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
torch.set_num_threads(1)
