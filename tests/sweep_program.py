"""`conceptbasis` whose pipeline leaves a made-up run, for an agent of a sweep to start."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from staged_run import staged, stub_report

from conceptbasis import pipeline
from conceptbasis.cli.main import main
from conceptbasis.report import html

if __name__ == "__main__":
    html.build_report = stub_report
    pipeline.run_pipeline = staged(trains=True)
    raise SystemExit(main())
