"""Files of others are data: no pickle is opened, and code of a model runs only when asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import conceptbasis

ROOT = Path(conceptbasis.__file__).parent
RULES = {
    "torch.load opens pickles unless weights_only": r"torch\.load\((?!.*weights_only=True)",
    "np.load takes no pickles": r"np\.load\((?!.*allow_pickle=False)",
    "YAML makes objects": r"yaml\.(unsafe_load|full_load|load_all)\(|yaml\.load\((?!.*_Loader\))",
    "text is run": r"(?<![\w.])(eval|exec)\(",
    "a shell": r"shell=True|os\.system\(",
    "pages that are not escaped": r"autoescape=False|\|\s*safe\s*\}\}",
}


@pytest.mark.parametrize("rule", RULES)
def test_nothing_of_a_stranger_is_run(rule):
    pages = [p for p in ROOT.rglob("*") if p.suffix in (".py", ".html")]
    found = [p for p in pages if re.search(RULES[rule], p.read_text(encoding="utf-8"))]
    assert found == []


def test_only_own_processes_exchange_pickles():
    users = [p for p in ROOT.rglob("*.py") if re.search(r"\bpickle\.loads?\(", p.read_text())]
    assert sorted(p.name for p in users) == ["executor.py", "on_ray.py"]


def test_code_of_a_model_runs_only_when_asked():
    from conceptbasis.models.loading.source import Source

    assert Source("a/b").options()["trust_remote_code"] is False
    assert Source("a/b", trust_remote_code=True).options()["trust_remote_code"] is True


def test_the_rules_find_what_they_are_for():
    wrong = {
        "torch.load opens pickles unless weights_only": "torch.load(path)",
        "np.load takes no pickles": "np.load(path)",
        "YAML makes objects": "yaml.load(text, yaml.Loader)",
        "text is run": "x = eval(text)",
        "a shell": "run(words, shell=True)",
        "pages that are not escaped": "{{ text | safe }}",
    }
    assert all(re.search(RULES[rule], line) for rule, line in wrong.items())
    assert not re.search(RULES["text is run"], "model.eval()")
