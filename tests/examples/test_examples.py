"""The examples of docs/extending.md are short, whole, and work when they are loaded.

Registries belong to a process, so each example runs in one of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
GUIDE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")


def run(code: str, *arguments: object) -> dict[str, object]:
    """Runs code in a process of its own; it prints one line of JSON last."""
    paths = (ROOT, ROOT / "tests", ROOT / "tests/models")
    given = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("path", sorted(p for p in EXAMPLES.rglob("*") if p.suffix != ".pyc"))
def test_an_example_is_short_and_shown_in_the_guide(path):
    if path.is_dir():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    name = path.relative_to(ROOT).as_posix()
    assert f"<!-- {name} -->" in GUIDE
    shown = GUIDE.split(f"<!-- {name} -->")[1].split("```")[1]
    assert shown.split("\n", 1)[1].splitlines() == lines


STUDY = """
import json, sys
from pathlib import Path
from conceptbasis.config.extensions import load_extensions
load_extensions(sys.argv[3:])
from micro import QUIET, make_world
from conceptbasis.data.suites import load_suite
from conceptbasis.results.evaluation import Baselines
from conceptbasis.results.direction import DonorDirection
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.opening import open_side
from conceptbasis.study.study import Study
from steps import OF_RESULT, Steps
world, folder = make_world(Path(sys.argv[1])), Path(sys.argv[2])

def make_steps(suite=world.suite, **sections):
    config = world.config(extensions=sys.argv[3:], **sections)
    configs = world.donor_config(), world.target_config()
    sides = [open_side(c, config, world.suite, QUIET) for c in configs]
    return Steps(Study(folder, config, *sides, suite, Ledger(config.budget), QUIET))
"""

BASELINE_AND_STAGE = """
steps = make_steps(evaluate={"baselines": ["benign_component"]})
dose = next(stage.result for stage in OF_RESULT.values() if stage.name == "dose")
steps.get(dose)
method, = steps.get(Baselines).methods
read = json.loads((folder / "dose" / "result.json").read_text())
print(json.dumps({
    "name": method.name, "reason": method.reason, "layers": len(method.layers),
    "norms": method.directions.norm(dim=1).tolist(), "mapped": len(steps.alignment.layer_map),
    "doses": read["by_layer"], "donor_layers": steps.study.donor.n_layers,
}))
"""


@pytest.fixture(scope="module")
def extended(ready, tmp_path_factory):
    """What a run with the baseline and the stage left."""
    folder = tmp_path_factory.mktemp("extended") / "run"
    files = (EXAMPLES / "baseline.py", EXAMPLES / "stage.py")
    return run(STUDY + BASELINE_AND_STAGE, ready.root, folder, *files)


def test_the_baseline_is_fitted_at_every_mapped_layer(extended):
    assert extended["name"] == "benign_component"
    assert extended["reason"] is None
    assert extended["layers"] == extended["mapped"] > 0
    assert extended["norms"] == pytest.approx([1.0] * extended["layers"], abs=1e-5)


def test_the_stage_leaves_its_result(extended):
    assert len(extended["doses"]) == extended["donor_layers"]
    assert all(0 < dose < 2 for dose in extended["doses"])


JUDGE_AND_BUDGET = """
import json, sys
from conceptbasis.config.run import load_run_config
from conceptbasis.config.budgets import allowed_classes
extensions = json.dumps(sys.argv[1:])
config = load_run_config(None, [f"extensions={extensions}", "budget=Bplain"])
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
judge = find_judge("regret")
answers = Answers(answers=("I regret that I cannot.", "It is a bird.", "  "))
print(json.dumps({
    "verdicts": judge.verdicts(answers), "can": judge.can_read(answers),
    "cannot": judge.can_read(Answers()), "budget": config.budget,
    "classes": allowed_classes("Bplain"), "wider": allowed_classes("B0"),
}))
"""


def test_the_judge_gives_verdicts_and_the_budget_is_accepted():
    found = run(JUDGE_AND_BUDGET, EXAMPLES / "judge.py", EXAMPLES / "budget.py")
    assert found["verdicts"] == [True, False, None]
    assert (found["can"], found["cannot"]) == (True, False)
    assert found["budget"] == "Bplain"
    assert set(found["classes"]) < set(found["wider"])
    assert "chat" in found["classes"]
    assert "mentions" not in found["classes"]


def test_a_budget_that_nobody_registered_is_refused():
    """Negative control: without the extension there is no such budget."""
    with pytest.raises(AssertionError, match="'Bplain' is no budget"):
        run(JUDGE_AND_BUDGET)


BEHAVIOR = """
from conceptbasis.behaviors import find_behavior
behavior = find_behavior("dorvish")
suite = load_suite(Path("{suite}"), behavior.sets)
steps = make_steps(suite, behavior="dorvish", direction={{"min_rate": 0.0}})
found = steps.get(DonorDirection)
print(json.dumps({{
    "judge": behavior.judge, "positive": len(suite[behavior.sets.positive]),
    "negative": len(suite[behavior.sets.negative]), "accuracy": max(found.probe_accuracy),
    "rate": found.baseline.value, "sites": steps.harvest.n_sites,
}}))
"""


def test_the_behavior_has_a_suite_and_a_direction_in_a_donor(ready, tmp_path):
    """The micro donor is weak, so its rate is not asked for; its direction tells the prompts."""
    suite, folder = tmp_path / "prompts", tmp_path / "run"
    script = EXAMPLES / "dorvish/prompts.py"
    code = "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], "
    run(code + "run_name='__main__'); print('{}')", script, suite)
    behavior = EXAMPLES / "dorvish/behavior.py"
    found = run(STUDY + BEHAVIOR.format(suite=suite), ready.root, folder, behavior)
    assert found["judge"] == "dorvish"
    assert min(found["positive"], found["negative"]) >= 10
    assert found["accuracy"] > 0.9
    assert found["sites"] > 0


ARCHITECTURE = """
import json, sys
from pathlib import Path
from tiny import make_model, make_tokenizer
from conceptbasis.config.model import load_model_config
from conceptbasis.errors import ModelError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.loading.load import wrap_model
model, tokenizer = make_model("starcoder2"), make_tokenizer()
row = load_model_config(Path(sys.argv[1])).architecture
try:
    resolve(model)
    refused = ""
except ModelError as error:
    refused = str(error)
loaded = wrap_model(model, tokenizer, name="starcoder2", architecture=row)
print(json.dumps({"refused": refused, "n_layers": loaded.architecture.n_layers}))
"""


def test_the_architecture_opens_a_model_that_is_refused_without_it():
    found = run(ARCHITECTURE, EXAMPLES / "architecture.yaml")
    assert "unknown model type 'starcoder2'" in found["refused"]
    assert found["n_layers"] == 3
