"""One thread, and the tiny models of the model tests."""

import sys
from pathlib import Path

import torch

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "models"):
    sys.path.insert(0, str(folder))
torch.set_num_threads(1)
