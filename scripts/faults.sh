#!/usr/bin/env bash
# Hurts a run in every way that is known: it is killed, its disk fills, its files are damaged, and
# so on. Prints the table of docs/faults.md and ends with 1 where anything was lost.
#
#   scripts/faults.sh [--kills N] [--only KIND ...] [--work FOLDER] [-- RUN ...]
#
# --kills  how many times the run is killed (default 60)
# --only   some kinds of fault: kills signals disk read-only stages others clocks two memory models wandb
# --work   a folder for all tries, which is emptied (default runs/faults)
# RUN      the command without --out (default: demo), such as
#            transfer --config run.yaml donor.yaml target.yaml
#
# Kinds `disk` and `read-only` ask for root; nothing outside of FOLDER is touched. PYTHON names the
# interpreter (default: that of .venv, else python3).
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$python" -m benchmarks.faults "$@"
