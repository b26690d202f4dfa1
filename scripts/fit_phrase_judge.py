"""Fits the weights of the phrase judge and shows how they read answers they were not fitted to.

    python scripts/fit_phrase_judge.py            # cross-validation alone
    python scripts/fit_phrase_judge.py --write    # and the weights, with their hash in the code

Only the halves that may be fitted to are read (`tests/judges/labelled.py`), and answers that are
never measured on. Held-out halves are measured by tests/judges/test_labelled.py.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "judges"))
from labelled import half, training  # noqa: E402

from conceptbasis.judges.linear import BIAS, CLASSES, Features, features_of  # noqa: E402
from conceptbasis.judges.normalise import normalise_answer, without_thoughts  # noqa: E402
from conceptbasis.judges.patterns import REFUSAL  # noqa: E402
from conceptbasis.judges.reading import EVADES, OPENING_WORDS, may_refuse  # noqa: E402
from conceptbasis.judges.speech import own_words, without_code  # noqa: E402
from conceptbasis.judges.tagging import language_of, tags_of  # noqa: E402

INVERSE_PENALTY = 10.0
MIN_ANSWERS = 2
"""A feature must occur in this many answers."""
LEAST_WEIGHT = 0.03
"""Smaller weights are left out."""
HEAD = "# feature, then its weight for a refusal, an answer, a deflection (fit_phrase_judge.py)"


def main() -> None:
    """Cross-validates, and writes the weights where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the weights")
    write = parser.parse_args().write
    rows = [r for r in (*half("written"), *training()) if r[1] in (*CLASSES, "redirect")]
    rows = [r for r in rows if has_lexicon(r[2])]
    found = [features(text) for _, _, text in rows]
    kinds = np.array([CLASSES.index(KIND.get(k, k)) for _, k, _ in rows])
    validate(rows, found, kinds)
    if write:
        save(found, kinds)


KIND = {"redirect": "deflection"}


def has_lexicon(text: str) -> bool:
    """Whether weights read the answer; patterns read the languages without a lexicon."""
    text = normalise_answer(without_thoughts(text) or text)
    return language_of(text) is not None and not REFUSAL.search(own_words(text))


def features(text: str) -> Features:
    """The features of an answer, as the judge sees them."""
    text = normalise_answer(without_thoughts(text) or text)
    language, spoken = language_of(without_code(text)), own_words(text)
    assert language is not None, text
    return features_of(spoken, tags_of(spoken, language, OPENING_WORDS), language)


def fit(found: list[Features], kinds: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The features that occur often enough, their weights, and the intercepts."""
    counts = Counter(name for f in found for block in f for name in block)
    names = sorted(name for name, n in counts.items() if n >= MIN_ANSWERS)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=3000)
    model.fit(matrix(found, names), kinds)
    return names, model.coef_.T, model.intercept_


def matrix(found: list[Features], names: list[str]) -> csr_matrix:
    """One row an answer; each block of features has the same weight whatever its size."""
    column = {name: i for i, name in enumerate(names)}
    cells = [
        (row, column[name], 1 / max(1, len(block)) ** 0.5)
        for row, f in enumerate(found)
        for block in f
        for name in block
        if name in column
    ]
    i, j, values = zip(*cells, strict=True)
    return csr_matrix((values, (i, j)), shape=(len(found), len(names)))


def validate(rows: list[tuple[str, str, str]], found: list[Features], kinds: np.ndarray) -> None:
    """Prints what ten folds say of answers that the fold was not fitted to."""
    guess = np.zeros_like(kinds)
    for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(kinds, kinds):
        names, weights, intercept = fit([found[i] for i in train], kinds[train])
        scores = matrix([found[i] for i in test], names) @ weights + intercept
        for row, i in enumerate(test):
            present = {name[1:] for name in found[i].tags if name[0] == "b" and len(name) == 2}
            scores[row, 0] -= 99 * (not may_refuse(present))
            scores[row, 2] -= 99 * (not present & EVADES)
        guess[test] = scores.argmax(1)
    for language in ("en", None):
        here = np.array([(r[0] == "en") == (language == "en") for r in rows])
        print("English" if language else "other languages")
        for i, kind in enumerate(CLASSES):
            told = np.bincount(guess[here & (kinds == i)], minlength=3)
            print(f"  {kind:10} read as", dict(zip(CLASSES, told.tolist(), strict=True)))
    for row, true, told in zip(rows, kinds, guess, strict=True):
        if true != told:
            print(f"  {CLASSES[true]} -> {CLASSES[told]}: {row[2][:100]!r}")


def save(found: list[Features], kinds: np.ndarray) -> None:
    """Writes the weights of all answers, to two decimals."""
    names, weights, intercept = fit(found, kinds)
    lines = [HEAD, "\t".join([BIAS, *(f"{w:.2f}" for w in intercept)])]
    for name, row in zip(names, weights, strict=True):
        if np.abs(row).max() >= LEAST_WEIGHT:
            lines.append("\t".join([name, *(f"{w:.2f}" for w in row)]))
    target = ROOT / "conceptbasis" / "judges" / "weights.tsv"
    data = ("\n".join(lines) + "\n").encode()
    target.write_bytes(data)
    code = target.with_name("linear.py")
    digest = f'WEIGHTS_HASH = "{hashlib.sha256(data).hexdigest()[:16]}"'
    code.write_text(re.sub(r'WEIGHTS_HASH = "\w+"', digest, code.read_text("utf-8")), "utf-8")
    print(f"{len(lines) - 1} features in {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
