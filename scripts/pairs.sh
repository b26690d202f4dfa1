#!/usr/bin/env bash
# Transfers between pairs of built-in organisms, one run folder each, and one table of all.
#
#   scripts/pairs.sh OUT [SEED] [BUDGET] [MORE OPTIONS OF transfer]
#
# OUT     folder of the runs, OUT/DONOR-to-TARGET-SEED-BUDGET
# SEED    of both organisms (default 0)
# BUDGET  B0d (default) or B0: what the target may be shown
# PAIRS   environment: the pairs to run, such as "llama:qwen3 qwen3:llama" (default: all)
#
# Organisms and SAEs are made once and cached. A run that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/pairs.sh OUT [SEED] [BUDGET] [MORE OPTIONS OF transfer]}
seed=${2:-0}
budget=${3:-B0d}
shift $(($# < 3 ? $# : 3))

# Within a family, both ways; dense to dense across families, both ways; dense to mixture of
# experts (llama:mixtral is the demo, on which the method was developed) and back; post-norm target.
all="llama_small:llama llama:llama_small
     llama:qwen3 qwen3:llama llama:mistral mistral:llama qwen3:mistral mistral:qwen3
     llama:mixtral qwen3:qwen3_moe mixtral:llama
     llama:gemma2"

# side FAMILY BUDGET: writes the file of one model and prints its path.
side() {
    local name=$1-$seed-$2
    mkdir -p "$out/models"
    cat >"$out/models/$name.yaml" <<EOF
name: $name
model: organism:$1:$seed
saes:
  train:
    budget: $2
EOF
    echo "$out/models/$name.yaml"
}

runs=()
for pair in ${PAIRS:-$all}; do
    donor=${pair%%:*} target=${pair##*:}
    run=$out/$donor-to-$target-$seed-$budget
    echo "== $run"
    # A transfer that the forecast declines is a result too: status 2 with a summary.
    conceptbasis transfer --donor "$(side "$donor" "$budget")" --target "$(side "$target" "$budget")" \
        --out "$run" --set budget="$budget" --set curve.measure=true \
        --set tracking.group="pairs-$seed-$budget" "$@" || [ -e "$run/summary.json" ]
    runs+=("$run")
done
conceptbasis compare --overview "${runs[@]}"
