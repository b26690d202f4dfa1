#!/usr/bin/env bash
# Runs the notebooks of docs/tutorials in place: what they show is made anew.
#
#   scripts/tutorials.sh [FOLDER] [NAME ...]
#
# FOLDER  where they run and leave SAEs and runs (default: runs/tutorials)
# NAME    saes, atoms, wandb or own (default: all)
#
# Models, SAEs and runs that FOLDER and the cache hold are reused, so that a second time takes minutes.
# Nothing is sent to wandb.
set -euo pipefail

cd "$(dirname "$0")/.."
folder=${1:-runs/tutorials}
shift $(($# < 1 ? $# : 1))
WANDB_MODE=offline "${PYTHON:-python}" scripts/tutorials.py "$folder" "$@"
