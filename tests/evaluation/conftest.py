"""Made-up outcomes are found from every test of the evaluation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
