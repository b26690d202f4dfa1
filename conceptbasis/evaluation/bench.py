"""What all trials of an evaluation share: the target, the prompts, and the target untouched."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.behaviors import Behavior
from conceptbasis.config.evaluation import EvaluateSection, JudgeSection
from conceptbasis.data.prompts import Text
from conceptbasis.edits.guard import benign_texts
from conceptbasis.evaluation.reference import open_reference
from conceptbasis.evaluation.trials import Sets, prompts_by_set, short_name
from conceptbasis.judges.model import JudgeModel, JudgeOptions, load_judge
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.loading.source import Source
from conceptbasis.models.text.generation import first_token_logits, generate
from conceptbasis.runs.files import value_hash
from conceptbasis.saes.sae import Sae
from conceptbasis.study.sites import Sites
from conceptbasis.study.study import Study


@dataclass(frozen=True)
class Bench:
    """What all trials share.

    Args:
        loaded: The target.
        saes: Its SAEs.
        behavior: What is measured.
        sets: The prompts by set.
        section: Settings.
        texts: Benign texts for perplexity.
        untouched: First-token logits of the untouched target on negative prompts.
        untouched_answers: Its answers to the first of them.
        behavior_tokens: First tokens that positive prompts make likelier.
        n_workers: Processes that measure.
        judge: The judging model, if there is one.
        reference: The model that judges relevance; None is the untouched target.
        key: Hash of all that the outcomes depend on beside the trial.
        drafts: By prompt, tokens of answers that it may have under a trial.
        relevance: By set, place and answer, whether it fits: most trials share most answers.
    """

    loaded: LoadedModel
    saes: Mapping[int, Sae]
    behavior: Behavior
    sets: Sets
    section: EvaluateSection
    texts: Sequence[Text]
    untouched: Float[Tensor, "n_negative d_vocab"]
    untouched_answers: Sequence[str]
    behavior_tokens: Int[Tensor, " n_tokens"]
    n_workers: int
    judge: JudgeModel | None
    reference: LoadedModel | None
    key: str
    drafts: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)
    relevance: dict[tuple[str, int, str], bool | None] = field(default_factory=dict)

    @property
    def negative(self) -> str:
        """Short name of the set of negative prompts."""
        return short_name(self.behavior, self.behavior.sets.eval_negative)


def make_bench(study: Study, sites: Sites, behavior_tokens: Int[Tensor, " n_tokens"]) -> Bench:
    """The bench of a study, for the evaluation and for all that is measured after it.

    Args:
        study: Gives the target, the prompts and the settings.
        sites: Gives benign texts.
        behavior_tokens: First tokens that positive prompts make likelier.
    """
    section, loaded = study.config.evaluate, study.target.loaded
    negative = [p.text for p in study.prompts("eval_negative")]
    texts = benign_texts(sites, "report")
    reference = open_reference(
        section,
        study.target.config,
        [*study.prompts("eval_positive"), *study.prompts("eval_negative")],
        study.config.device,
        study.reporter,
    )
    return Bench(
        loaded,
        study.target.saes.saes,
        study.behavior,
        prompts_by_set(study.behavior, study.suite, section.n_prompts),
        section,
        texts,
        first_token_logits(loaded, negative, batch_size=section.batch_size),
        generate(
            loaded,
            negative[: section.n_prompts][: section.n_kl_prompts],
            max_new_tokens=section.max_new_tokens,
            batch_size=section.batch_size,
        ),
        behavior_tokens,
        study.config.n_workers,
        None if section.judge is None else load_section_judge(section.judge, study.config.device),
        reference,
        value_hash(
            [
                study.target.model_hash,
                study.target.saes_hash,
                study.source_hash("prompts.evaluation"),
                section.model_dump(exclude={"batch_size", "baselines", "controls"}),
                [t.content for t in texts],
                reference and reference.name,
            ]
        ),
    )


@functools.lru_cache(maxsize=1)
def load_section_judge(section: JudgeSection, device: str) -> JudgeModel:
    """The judging model of a configuration, loaded once for all stages that measure.

    Args:
        section: `evaluate.judge`.
        device: A torch device.
    """
    options = {f.name: getattr(section, f.name) for f in fields(JudgeOptions)}
    return load_judge(
        Source(section.model, section.revision, offline=section.offline),
        JudgeOptions(**options),
        Placement(section.dtype, device),
    )
