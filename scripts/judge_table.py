"""Confusion table of the phrase judge on answers whose condition is known.

    python scripts/judge_table.py FOLDER [--show]

FOLDER holds one folder a model with `harmless_baseline_evaluations.json` and
`harmless_actadd_evaluations.json` as github.com/andyrdt/refusal_direction publishes them in
`pipeline/runs`: answers to harmless requests, plain and with a refusal direction added, each with
the verdict of a list of twelve phrases. The condition is not the truth: read what `--show` prints.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from conceptbasis.judges.phrases import KINDS, read_answer

CONDITIONS = {"baseline": "answer", "actadd": "refusal"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", action="store_true", help="print answers that are disputed")
    options = parser.parse_args()
    table: Counter[tuple[str, str, str]] = Counter()
    for condition, expected in CONDITIONS.items():
        for path in sorted(options.folder.glob(f"*/harmless_{condition}_evaluations.json")):
            for item in json.loads(path.read_text(encoding="utf-8"))["completions"]:
                listed = "answer" if item["is_jailbreak_substring_matching"] else "refusal"
                kind = read_answer(item["response"])
                table[condition, "phrase judge", kind] += 1
                table[condition, "list of twelve", listed] += 1
                if options.show and (kind != expected or listed != expected):
                    print(f"{path.parent.name} {condition}: {kind}, list {listed}")
                    print(f"  {item['prompt'][:80]!r} -> {item['response'][:300]!r}")
    print(f"{'condition':10} {'judge':16}" + "".join(f"{kind:>12}" for kind in KINDS))
    for condition in CONDITIONS:
        for judge in ("phrase judge", "list of twelve"):
            counts = "".join(f"{table[condition, judge, kind]:>12}" for kind in KINDS)
            print(f"{condition:10} {judge:16}{counts}")


if __name__ == "__main__":
    main()
