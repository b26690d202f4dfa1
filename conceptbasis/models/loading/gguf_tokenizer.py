"""Holds the tokenizer of a GGUF file against the file, which some versions read wrongly.

They do so without a word, so common words must stay whole, and special tokens be those of the file.
"""

from __future__ import annotations

from typing import Any

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.gguf import Header

RIGHT_TRANSFORMERS = "5.23.0"
"""A version that reads the tokenizers of GGUF files rightly; 5.17.0 does not."""

_WORDS = """
about after again all also always and another answer because before between both can city
come could day different do down each every find first food for from give go good great hand
have hello help her here home house how into just know large last learn life like list
little live long look love make many more most music name need never new not now number of
old one only other our out over own part people place please question read right say school
see she should show small some still story system take tell than that the their them then
there these they thing think this time together two under until use user very want water way
well what when where which while who why will with without word work world would write year
you your
"""

COMMON_WORDS = tuple(_WORDS.split())
"""Words that stay whole in any tokenizer whose vocabulary holds them."""

MAX_CUT = 0.02
"""The largest share of the common words in a file's vocabulary that a tokenizer may cut."""

_SPACES = {"gpt2": "Ġ", "llama": "▁"}
"""How the tokenizers of a file write the space before a word."""


def check_tokenizer(tokenizer: Any, header: Header) -> None:
    """Holds a tokenizer against the file that it was read from, and gives it a padding token.

    Args:
        tokenizer: As transformers reads it.
        header: Of the file.

    Raises:
        ModelError: It cuts words that are tokens of the file, or has other special tokens.
    """
    cut, known = _cut_words(tokenizer, header)
    if len(cut) > MAX_CUT * known:
        shown = ", ".join(f"{w} into {'|'.join(tokenizer.tokenize(' ' + w))}" for w in cut[:3])
        raise _wrong_tokenizer(
            header, f"cuts {len(cut)} of {known} common words that are tokens of the file: {shown}"
        )
    for name in ("bos", "eos"):
        _check_special(tokenizer, header, name, name)
    _check_special(tokenizer, header, "padding", "pad")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token


def _cut_words(tokenizer: Any, header: Header) -> tuple[list[str], int]:
    space = _SPACES.get(str(header.fields.get("tokenizer.ggml.model")), "")
    ids = {token: i for i, token in enumerate(header.tokens)}
    words = [w for w in COMMON_WORDS if space and space + w in ids]
    found = [tokenizer(f"{'so'} {w}", add_special_tokens=False)["input_ids"] for w in words]
    cut = [w for w, row in zip(words, found, strict=True) if row[-1] != ids[space + w]]
    return cut, len(words)


def _check_special(tokenizer: Any, header: Header, name: str, attribute: str) -> None:
    wanted, found = header.token_id(name), getattr(tokenizer, f"{attribute}_token_id")
    if wanted is not None and wanted != found:
        token = header.tokens[wanted] if wanted < len(header.tokens) else "none of its tokens"
        raise _wrong_tokenizer(
            header, f"has {found} as its {name} token, where the file has {wanted} ({token})"
        )


def _wrong_tokenizer(header: Header, what: str) -> ModelError:
    import transformers

    return ModelError(
        f"transformers {transformers.__version__} reads the tokenizer of {header.path.name} "
        f"wrongly: it {what}",
        expected="the words and special tokens of the file",
        fix=f"pip install transformers=={RIGHT_TRANSFORMERS}",
    )
