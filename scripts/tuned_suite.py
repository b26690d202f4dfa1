"""Writes the prompt suite of tuned models to a folder, for the key `prompts.path`.

Usage: python scripts/tuned_suite.py OUT [SEED]
"""

import sys
from pathlib import Path

from conceptbasis.data.suites import save_suite
from conceptbasis.models.loading.load import silence_transformers
from conceptbasis.organisms.tuned.build import tuned_suite
from conceptbasis.runs.progress import Reporter


def main(out: str, seed: str = "0") -> None:
    """Writes the suite; answers that the cache lacks are generated first."""
    silence_transformers()
    suite = tuned_suite(int(seed), Reporter())
    save_suite(suite, Path(out))
    print(f"{out}: {len(suite.texts)} texts, {len(suite['eval_harmful'])} held-out harmful")


if __name__ == "__main__":
    main(*sys.argv[1:])
