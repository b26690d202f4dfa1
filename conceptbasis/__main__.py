"""`python -m conceptbasis` is the command `conceptbasis`."""

import sys

from conceptbasis.cli import main

sys.exit(main())
