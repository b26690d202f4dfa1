#!/usr/bin/env bash
# The figures of docs/results.md on real models: three seeds of tuning, both budgets, both ways, 200 prompts a set.
#
#   scripts/real_pairs.sh OUT [MORE OPTIONS OF transfer]
#
# OUT      folder of the runs: OUT/SEED-BUDGET/DONOR-to-TARGET
# SEEDS    environment: seeds of the tunings (default: "0 1 2")
# BUDGETS  environment: what the target may be shown (default: "B0d B0")
#
# Each seed tunes both models (over an hour on two cores), each run takes about half an hour. Everything is kept, and a
# call that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/real_pairs.sh OUT [MORE OPTIONS OF transfer]}
shift
runs=()
for seed in ${SEEDS:-0 1 2}; do
    for budget in ${BUDGETS:-B0d B0}; do
        folder=$out/$seed-$budget
        SEED=$seed BUDGET=$budget "$(dirname "$0")/real.sh" "$folder" \
            --set evaluate.n_prompts=200 --set evaluate.n_relevance=100 "$@"
        runs+=("$folder"/*-to-*)
    done
done
conceptbasis compare --overview "${runs[@]}"
