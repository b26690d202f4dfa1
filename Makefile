# Every target sets up what it needs. `make demo` and `make test` are all a new user has to know.
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo real test docs bench check lint types imports clean help

help:
	@echo "make demo    build two organisms, transfer, evaluate, report (runs/demo)"
	@echo "make real    the same between two real models, both ways (runs/real; about two hours at first)"
	@echo "make test    lint, types, import contract and all tests, offline"
	@echo "make docs    the documentation as a site, with the Python reference (site/index.html)"
	@echo "make check   lint, types and import contract only"
	@echo "make bench   speed and memory against rivals, written to docs/benchmarks.md (about 45 minutes;"
	@echo "                some alone: CASES='harvest replay/100M')"
	@echo "make clean   remove the environment and the runs"

$(VENV)/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not installed; set PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(RUN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/installed
	$(RUN)/conceptbasis demo --out runs/demo

real: $(VENV)/installed
	PATH="$(CURDIR)/$(RUN):$$PATH" scripts/real.sh runs/real

test: check
	OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n auto

docs: $(VENV)/installed
	$(RUN)/mkdocs build

bench: $(VENV)/installed
	$(RUN)/python -m benchmarks.run $(CASES)

check: lint types imports

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/installed
	$(RUN)/mypy

imports: $(VENV)/installed
	$(RUN)/lint-imports

clean:
	rm -rf $(VENV) runs site
