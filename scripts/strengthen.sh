#!/usr/bin/env bash
# Raises refusal in a target that refuses too little, by the recipe of a donor that refuses enough.
#
#   scripts/strengthen.sh OUT DONOR TARGET [MORE OPTIONS OF transfer]
#
# OUT            folder of the runs, OUT/GAMMA
# DONOR, TARGET  FAMILY:SEED and FAMILY:SEED:weakened, such as mixtral:0 llama:0:weakened
# GAMMAS         environment: the strengths, auto or below 0 (default: auto -0.1 -0.2 -0.4 -0.8)
#
# Edit: h − γ r max(0, wᵀ(h − μ) − t) with γ < 0. What lies where benign requests lie stays; what lies
# clearly above is pushed on. `auto` finds γ on benign text alone; the others are for the curve.
# Controls and baselines are left out. The first strength computes the stages that all of them share.
set -euo pipefail

usage="usage: scripts/strengthen.sh OUT DONOR TARGET [MORE OPTIONS OF transfer]"
out=${1:?$usage} donor=${2:?$usage} target=${3:?$usage}
shift 3

# side FAMILY:SEED[:weakened]: writes the file of one model and prints its path.
side() {
    mkdir -p "$out/models"
    cat >"$out/models/${1//:/-}.yaml" <<YAML
name: ${1//:/-}
model: organism:$1
saes: {train: {budget: B0d}}
YAML
    echo "$out/models/${1//:/-}.yaml"
}

runs=() first=
for gamma in ${GAMMAS:-auto -0.1 -0.2 -0.4 -0.8}; do
    run=$out/$gamma
    echo "== $run"
    if [ -n "$first" ] && [ ! -e "$run" ]; then
        cp -a "$first" "$run"
        rm -rf "$run"/{summary.json,report.html,figures,.lock,wandb}
    fi
    conceptbasis transfer --donor "$(side "$donor")" --target "$(side "$target")" --out "$run" \
        --set replay.mode=raise --set replay.gamma="$gamma" \
        --set evaluate.controls=false --set 'evaluate.baselines=[]' "$@"
    first=${first:-$run}
    runs+=("$run")
done
conceptbasis compare "${runs[@]}"
