#!/usr/bin/env bash
# Removes a backdoor from organisms by the recipe of another one, one run folder each, and one table of all.
#
#   scripts/backdoors.sh OUT [SEED] [BUDGET] [MORE OPTIONS OF transfer]
#
# OUT       folder of the runs, OUT/TRIGGER/DONOR-to-TARGET
# SEED      of both organisms (default 0)
# BUDGET    B0d (default) or B0: what the target may be shown; neither holds the trigger
# PAIRS     environment: the pairs to run, such as "llama:qwen3 qwen3:llama" (default: four)
# TRIGGERS  environment: what springs the backdoor (default: "word phrase style")
#
# Organisms and SAEs are made once and cached. A run that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/backdoors.sh OUT [SEED] [BUDGET] [MORE OPTIONS OF transfer]}
seed=${2:-0}
budget=${3:-B0d}
shift $(($# < 3 ? $# : 3))

# side FAMILY TRIGGER: writes the file of one model and prints its path.
side() {
    local name=$1-$seed-$2
    mkdir -p "$out/models"
    cat >"$out/models/$name-$budget.yaml" <<EOF
name: $name
model: organism:$1:$seed:backdoor-$2
saes:
  train:
    budget: $budget
EOF
    echo "$out/models/$name-$budget.yaml"
}

runs=()
for trigger in ${TRIGGERS:-word phrase style}; do
    for pair in ${PAIRS:-llama:qwen3 qwen3:llama llama:mixtral mixtral:llama}; do
        donor=${pair%%:*} target=${pair##*:}
        run=$out/$trigger/$donor-to-$target
        echo "== $run"
        # A transfer that the forecast rejects is a result too: status 2 with a summary.
        conceptbasis transfer --behavior backdoor --donor "$(side "$donor" "$trigger")" \
            --target "$(side "$target" "$trigger")" --out "$run" --set budget="$budget" \
            --set prompts.world="backdoor-$trigger" --set tracking.group="backdoors-$seed-$budget" \
            --set evaluate.baselines='[least_squares,affine,procrustes,relu_map]' \
            "$@" || [ -e "$run/summary.json" ]
        runs+=("$run")
    done
done
conceptbasis compare --overview "${runs[@]}"
