"""`python -m conceptbasis` is the command `conceptbasis`."""

import sys

from conceptbasis.cli.main import main

sys.exit(main())
