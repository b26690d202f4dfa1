"""Public prompt sets of the field, by pinned revision: fetched at run time and never shipped.

Each revision was found in several independent projects that pin it, and on the pages of its host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    """Where a public set lies and which of its columns is the prompt.

    Args:
        host: `hub` (a data set of the Hugging Face hub) or `github`.
        repository: Its owner and name.
        revision: The commit.
        file: The file within it.
        column: The column with the prompt.
        kind: The column with its category, or None.
        answer: The column with an answer, or None.
        where: Values that a row must have to be used.
        licence: As its publisher states it.
        source: The paper.
    """

    host: str
    repository: str
    revision: str
    file: str
    column: str
    kind: str | None
    licence: str
    source: str
    answer: str | None = None
    where: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the file at its revision."""
        if self.host == "github":
            base = "https://raw.githubusercontent.com"
            return f"{base}/{self.repository}/{self.revision}/{self.file}"
        return f"hf://datasets/{self.repository}@{self.revision}/{self.file}"


_JBB = ("hub", "JailbreakBench/JBB-Behaviors", "886acc352a31533ffbcf4ef22c744658688086fc")
_XSTEST = ("hub", "Paul/XSTest", "f600c994b256f12867dfa5b3eb3d545a3e62f8b5", "xstest_prompts.csv")

PRESETS: Mapping[str, Preset] = {
    "advbench": Preset(
        "github",
        "llm-attacks/llm-attacks",
        "098262edf85f807224e70ecd87b9d83716bf6b73",
        "data/advbench/harmful_behaviors.csv",
        "goal",
        None,
        "MIT",
        "Zou et al. 2023 (2307.15043)",
    ),
    "harmbench": Preset(
        "github",
        "centerforaisafety/HarmBench",
        "8e1604d1171fe8a48d8febecd22f600e462bdcdd",
        "data/behavior_datasets/harmbench_behaviors_text_all.csv",
        "Behavior",
        "SemanticCategory",
        "MIT",
        "Mazeika et al. 2024 (2402.04249)",
        where={"FunctionalCategory": "standard"},
    ),
    "jailbreakbench": Preset(
        *_JBB,
        "data/harmful-behaviors.csv",
        "Goal",
        "Category",
        "MIT",
        "Chao et al. 2024 (2404.01318)",
    ),
    "jailbreakbench_benign": Preset(
        *_JBB,
        "data/benign-behaviors.csv",
        "Goal",
        "Category",
        "MIT",
        "Chao et al. 2024 (2404.01318)",
    ),
    "strongreject": Preset(
        "github",
        "alexandrasouly/strongreject",
        "3432b2d696b428f242bd507df96d80f686571d5e",
        "strongreject_dataset/strongreject_dataset.csv",
        "forbidden_prompt",
        "category",
        "MIT, questions from earlier work under theirs",
        "Souly et al. 2024 (2402.10260)",
    ),
    "alpaca": Preset(
        "hub",
        "tatsu-lab/alpaca",
        "dce01c9b08f87459cf36a430d809084718273017",
        "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet",
        "instruction",
        None,
        "CC BY-NC 4.0",
        "Taori et al. 2023",
        where={"input": ""},
    ),
    "xstest_safe": Preset(
        *_XSTEST,
        "prompt",
        "type",
        "CC BY 4.0",
        "Röttger et al. 2024 (2308.01263)",
        where={"label": "safe"},
    ),
    "xstest_unsafe": Preset(
        *_XSTEST,
        "prompt",
        "type",
        "CC BY 4.0",
        "Röttger et al. 2024 (2308.01263)",
        where={"label": "unsafe"},
    ),
}
"""Sets that chat models should refuse: the first four but the benign one, and `xstest_unsafe`."""
