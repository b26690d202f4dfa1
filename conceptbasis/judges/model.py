"""A model as judge of answers: a sequence classifier, or a guard that writes its verdict.

It reads answers with its own tokenizer and says refusal, answer, or nothing: an item that it cannot
read or does not decide is unscored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import ConfigError
from conceptbasis.models.loading.fetching import Placement, load_tokenizer, load_weights
from conceptbasis.models.loading.source import UNREADABLE, Source, unreadable
from conceptbasis.models.text.batches import run_batches


@dataclass(frozen=True)
class JudgeOptions:
    """What a judging model is asked, and how its reply is read.

    Args:
        kind: `classifier` has a label for each class of answers; `guard` writes text.
        refusal: Labels of the classifier, or regular expressions on the guard's reply, that mean
            a refusal.
        answer: The same for an answer. A reply that fits neither or both is unscored.
        template: Text with {prompt} and {answer} that the judge reads. Without it a classifier
            reads the answer alone, and a guard both as a chat of two turns.
        min_probability: A classifier's label below it is unscored.
        max_new_tokens: Tokens that a guard may write.
    """

    kind: Literal["classifier", "guard"]
    refusal: tuple[str, ...]
    answer: tuple[str, ...]
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
    ) -> list[bool | None]:
        """Whether each answer is a refusal; None where the judge failed or did not decide.

        Args:
            prompts: What was asked.
            answers: What was answered, in the same order.
            batch_size: Answers at a time, fewer where memory runs out.
        """
        rows = [self._ids(p, a) for p, a in zip(prompts, answers, strict=True)]
        verdicts: list[bool | None] = [None] * len(rows)
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
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self.tokenizer(text)["input_ids"])

    def _room(self) -> int:
        config = self.model.config.get_text_config()
        longest = getattr(config, "max_position_embeddings", None) or 10**9
        written = self.options.max_new_tokens if self.options.kind == "guard" else 0
        # Position embeddings of the RoBERTa family start behind the padding id.
        offset = 2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
        return int(longest) - written - offset

    def _verdicts(self, rows: Sequence[list[int]]) -> list[bool | None]:
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

    def _by_label(self, logits: Float[Tensor, "n n_labels"]) -> list[bool | None]:
        verdicts: list[bool | None] = []
        for row in logits.softmax(-1):
            probability, label = float(row.max()), self.model.config.id2label[int(row.argmax())]
            # NaN fails the comparison, so broken logits are unscored too.
            sure = probability >= self.options.min_probability
            verdicts.append(self._decide([label], [label]) if sure else None)
        return verdicts

    def _by_words(self, reply: str) -> bool | None:
        def fitting(patterns: Sequence[str]) -> list[str]:
            return [p for p in patterns if re.search(p, reply, re.IGNORECASE)]

        return self._decide(fitting(self.options.refusal), fitting(self.options.answer))

    def _decide(self, refusal: Sequence[str], answer: Sequence[str]) -> bool | None:
        is_refusal = any(found in self.options.refusal for found in refusal)
        is_answer = any(found in self.options.answer for found in answer)
        return None if is_refusal == is_answer else is_refusal


def load_judge(source: Source, options: JudgeOptions, placement: Placement) -> JudgeModel:
    """Loads a judging model, safetensors only.

    Args:
        source: Hub id or folder.
        options: How it is asked and read.
        placement: Dtype and device.

    Raises:
        ModelError: Not found, damaged or gated.
        ConfigError: A label that the classifier does not have, a pattern that is no regular
            expression, or a guard without a chat template that is given no template.
    """
    tokenizer = load_tokenizer(source)
    if options.kind == "guard":
        _check_guard(source.name, options, tokenizer)
        model = load_weights(source, placement)
    else:
        model = _load_classifier(source, placement)
        _check_labels(source.name, options, model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return JudgeModel(source.name, options, model.eval().requires_grad_(False), tokenizer)


def _load_classifier(source: Source, placement: Placement) -> Any:
    from transformers import AutoModelForSequenceClassification

    from conceptbasis.models.loading.fetching import DTYPES

    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            source.name, dtype=DTYPES[placement.dtype], use_safetensors=True, **source.options()
        )
    except UNREADABLE as error:
        raise unreadable("model", source, error) from error
    return model.to(placement.device)


def _check_labels(name: str, options: JudgeOptions, model: Any) -> None:
    labels = list(model.config.id2label.values())
    unknown = [label for label in (*options.refusal, *options.answer) if label not in labels]
    if unknown:
        raise ConfigError(
            f"the classifier {name} has no label {', '.join(unknown)}",
            expected=f"its labels: {', '.join(labels)}",
            fix="correct evaluate.judge.refusal and evaluate.judge.answer",
        )


def _check_guard(name: str, options: JudgeOptions, tokenizer: Any) -> None:
    for pattern in (*options.refusal, *options.answer):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"evaluate.judge: {pattern!r} is no regular expression: {error}",
                expected="regular expressions that the guard's reply is searched for",
                fix="correct evaluate.judge.refusal or evaluate.judge.answer",
            ) from error
    if options.template is None and not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"the guard {name} has no chat template",
            expected="a chat template, or evaluate.judge.template",
            fix="give evaluate.judge.template a text with {prompt} and {answer}, as the page of "
            "the model shows it",
        )
