"""`capability`: what a finished transfer costs, by tasks of the harness and by texts."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import (
    Command,
    add_folder,
    add_tracking,
    check_device,
    console,
    open_reporter,
    say_next,
)


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--tasks", metavar="NAME,NAME", help="tasks of lm-evaluation-harness")
    parser.add_argument("--limit", type=int, help="use only the first items of each task")
    parser.add_argument("--shots", type=int, help="examples before each item")
    parser.add_argument("--chat", action="store_true", help="format items with the chat template")
    parser.add_argument(
        "--text", type=Path, help="texts whose perplexity to measure (.txt, .jsonl, .csv, .parquet)"
    )
    parser.add_argument("--column", help="the column of --text")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    add_tracking(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.finished import open_finished
    from conceptbasis.cli.logs.small import SmallLog
    from conceptbasis.config.prompts import SourceSection
    from conceptbasis.data.sources import read_prompts
    from conceptbasis.errors import ConfigError
    from conceptbasis.evaluation.capability import measure_capability
    from conceptbasis.report.model_tables import capability_table, logged_capability
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import check_run_folder, write_json
    from conceptbasis.runs.settings import read_settings
    from conceptbasis.runs.storage import to_json

    if not options.tasks and not options.text:
        raise ConfigError(
            "nothing to measure",
            expected="--tasks NAME,NAME or --text FILE, or both",
            fix="`lm-eval ls tasks` lists the tasks of the harness",
        )
    texts: list[str] = []
    if options.text:
        source = SourceSection(file=str(options.text), column=options.column)
        texts = [prompt.text for prompt in read_prompts(source)]
    check_run_folder(options.folder)
    check_device(options.device)
    (target, config), (donor, _) = (read_settings(options.folder, s) for s in ("target", "donor"))
    names = {"name": options.folder.resolve().name, "group": f"{donor.name}-to-{target.name}"}
    with SmallLog(config.tracking, options.folder, "capability", options, **names) as tracker:
        asked = {"tasks": options.tasks, "limit": options.limit, "shots": options.shots}
        tracker.log_config({"donor": donor.name, "target": target.name, **asked})
        loaded, intervention = open_finished(options)
        result = measure_capability(
            loaded,
            intervention,
            open_reporter(options),
            tasks=[name for name in (options.tasks or "").split(",") if name],
            texts=texts,
            limit=options.limit,
            n_shots=options.shots,
            batch_size=options.batch_size,
            chat=options.chat,
        )
        table, figures = logged_capability(result)
        tracker.log_tables({"capability": table})
        tracker.log_summary(figures)
    # Shown first: a folder that cannot be written must not cost the measurement.
    console().print(terminal(capability_table(result)))
    write_json(options.folder / "capability.json", to_json(result))
    say_next(options, "answers before and after", "replay", options.folder)


CAPABILITY = Command(_add, _run)
