"""A model as judge of answers: a sequence classifier, or a guard that writes its verdict.

It reads answers with its own tokenizer. An answer that it cannot read or does not decide has no
verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from conceptbasis.errors import ConfigError, ModelError, reason
from conceptbasis.judges.base import Answers, Judge, Verdict

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from conceptbasis.models.loading.fetching import Placement
    from conceptbasis.models.loading.source import Source


@dataclass(frozen=True)
class JudgeOptions:
    """What a judging model is asked, and how its reply is read.

    Args:
        kind: `classifier` has a label for each class of answers; `guard` writes text.
        positive: Labels of the classifier, or regular expressions on the guard's reply, that mean
            that the answer shows the behavior.
        negative: The same for an answer that does not. A reply that fits neither or both has no
            verdict.
        template: Text with {prompt} and {answer} that the judge reads. Without it a classifier
            reads the answer alone, and a guard both as a chat of two turns.
        min_probability: A classifier's label below it is unscored.
        max_new_tokens: Tokens that a guard may write.
    """

    kind: Literal["classifier", "guard"]
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    template: str | None = None
    min_probability: float = 0.5
    max_new_tokens: int = 32


@dataclass(frozen=True)
class JudgeModel:
    """A loaded judge; made by `load_judge`."""

    name: str
    options: JudgeOptions
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)

    def judge(
        self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int = 16
    ) -> list[Verdict]:
        """Whether each answer shows the behavior; None where the judge failed or did not decide.

        Args:
            prompts: What was asked.
            answers: What was answered, in the same order.
            batch_size: Answers at a time, fewer where memory runs out.
        """
        import torch

        from conceptbasis.models.text.batches import run_batches

        rows = [self._ids(p, a) for p, a in zip(prompts, answers, strict=True)]
        verdicts: list[Verdict] = [None] * len(rows)
        readable = [i for i, row in enumerate(rows) if row and len(row) <= self._room()]

        def read(chosen: Sequence[int]) -> None:
            found = self._verdicts([rows[i] for i in chosen])
            for i, verdict in zip(chosen, found, strict=True):
                verdicts[i] = verdict

        with torch.inference_mode():
            run_batches(sorted(readable, key=lambda i: len(rows[i])), batch_size, read)
        return verdicts

    def _ids(self, prompt: str, answer: str) -> list[int]:
        options = self.options
        if options.template is not None:
            text = options.template.replace("{prompt}", prompt).replace("{answer}", answer)
        elif options.kind == "classifier":
            text = answer
        else:
            turns = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": answer},
            ]
            from conceptbasis.models.text.chat import render

            text = render(self.tokenizer, turns, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer(text)["input_ids"])

    def _room(self) -> int:
        config = self.model.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None) or 10**9
        written = self.options.max_new_tokens if self.options.kind == "guard" else 0
        # Position embeddings of the RoBERTa family start behind the padding id.
        offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
        return int(longest) - written - offset

    def _verdicts(self, rows: Sequence[list[int]]) -> list[Verdict]:
        side = "left" if self.options.kind == "guard" else "right"
        batch = self.tokenizer.pad(
            {"input_ids": list(rows)}, padding_side=side, return_tensors="pt"
        ).to(self.model.device)
        given = {k: batch[k] for k in ("input_ids", "attention_mask")}
        if self.options.kind == "classifier":
            return self._by_label(self.model(**given).logits.float())
        written = self.model.generate(
            **given,
            do_sample=False,
            max_new_tokens=self.options.max_new_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
        )[:, batch["input_ids"].shape[1] :]
        return [
            self._by_words(reply)
            for reply in self.tokenizer.batch_decode(written, skip_special_tokens=True)
        ]

    def _by_label(self, logits: Float[Tensor, "n n_labels"]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for row in logits.softmax(-1):
            probability, label = float(row.max()), self.model.config.id2label[int(row.argmax())]
            # NaN fails the comparison, so broken logits are unscored too.
            sure = probability >= self.options.min_probability
            verdicts.append(self._decide([label], [label]) if sure else None)
        return verdicts

    def _by_words(self, reply: str) -> Verdict:
        def fitting(patterns: Sequence[str]) -> list[str]:
            return [p for p in patterns if re.search(p, reply, re.IGNORECASE)]

        return self._decide(fitting(self.options.positive), fitting(self.options.negative))

    def _decide(self, positive: Sequence[str], negative: Sequence[str]) -> Verdict:
        shows = any(found in self.options.positive for found in positive)
        lacks = any(found in self.options.negative for found in negative)
        return None if shows == lacks else shows


def load_judge(source: Source, options: JudgeOptions, placement: Placement) -> JudgeModel:
    """Loads a judging model, safetensors only.

    Args:
        source: Hub id or folder.
        options: How it is asked and read.
        placement: Dtype and device.

    Raises:
        ModelError: Not found, damaged or gated, without any token to pad with, or not able to
            judge two answers at once.
        ConfigError: A label that the classifier does not have, a pattern that is no regular
            expression, or a guard without a chat template that is given no template.
    """
    from conceptbasis.models.loading.fetching import load_tokenizer, load_weights

    tokenizer = load_tokenizer(source)
    if options.kind == "guard":
        _check_guard(source.name, options, tokenizer)
        model = load_weights(source, placement)
    else:
        model = _load_classifier(source, placement)
        _check_labels(source.name, options, model)
    _set_padding(source.name, model, tokenizer)
    judge = JudgeModel(source.name, options, model.eval().requires_grad_(False), tokenizer)
    _prove(judge)
    return judge


def _set_padding(name: str, model: Any, tokenizer: Any) -> None:
    """One padding token for tokenizer and model, and not the one that ends its texts.

    A decoder that classifies reads the last token that is no padding.
    """
    config, last = model.config.get_text_config(), [*tokenizer("a")["input_ids"], None][-2]
    known = [tokenizer.pad_token_id, config.pad_token_id, tokenizer.eos_token_id]
    known += [tokenizer.unk_token_id, tokenizer.bos_token_id]
    fitting = [i for i in known if i is not None and 0 <= i < config.vocab_size and i != last]
    if not fitting:
        raise ModelError(
            f"the judge {name} has no token to pad with",
            expected="a padding token, or another special token, in its tokenizer",
            fix="name a pad_token in its tokenizer_config.json",
        )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(fitting[0])
    config.pad_token_id = model.config.pad_token_id = fitting[0]


def _prove(judge: JudgeModel) -> None:
    """Judges two answers at once, so that what the model lacks is found before any work."""
    try:
        judge.judge(["a", "a b"], ["a", "a b c"], batch_size=2)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise ModelError(
            f"the judge {judge.name} cannot judge two answers: {reason(error)}",
            expected="a model and a tokenizer of one kind, as `evaluate.judge` describes them",
            fix="correct evaluate.judge, or use another model; the same fails with transformers "
            "alone",
        ) from error


def _load_classifier(source: Source, placement: Placement) -> Any:
    from transformers import AutoModelForSequenceClassification

    from conceptbasis.models.loading.fetching import DTYPES
    from conceptbasis.models.loading.source import UNREADABLE, unreadable

    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            source.name, dtype=DTYPES[placement.dtype], use_safetensors=True, **source.options()
        )
    except UNREADABLE as error:
        raise unreadable("model", source, error) from error
    return model.to(placement.device)


def _check_labels(name: str, options: JudgeOptions, model: Any) -> None:
    labels = list(model.config.id2label.values())
    unknown = [label for label in (*options.positive, *options.negative) if label not in labels]
    if unknown:
        raise ConfigError(
            f"the classifier {name} has no label {', '.join(unknown)}",
            expected=f"its labels: {', '.join(labels)}",
            fix="correct evaluate.judge.positive and evaluate.judge.negative",
        )


def _check_guard(name: str, options: JudgeOptions, tokenizer: Any) -> None:
    for pattern in (*options.positive, *options.negative):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"evaluate.judge: {pattern!r} is no regular expression: {error}",
                expected="regular expressions that the guard's reply is searched for",
                fix="correct evaluate.judge.positive or evaluate.judge.negative",
            ) from error
    if options.template is None and not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the guard {name} has no chat template",
            expected="a chat template, or evaluate.judge.template",
            fix="give evaluate.judge.template a text with {prompt} and {answer}, as the page of "
            "the model shows it",
        )


def _verdicts(answers: Answers) -> list[Verdict]:
    assert answers.model is not None
    return answers.model.judge(answers.prompts, answers.answers)


MODEL = Judge("model", "judging model", ("answers", "model"), _verdicts)
