#!/usr/bin/env bash
# The same transfer on the CPU and on a device, in float32 and in bfloat16: do they decide alike?
#
#   scripts/gpu_check.sh OUT [DEVICE] [MORE OPTIONS OF transfer]
#
# OUT     folder of the runs and the table, OUT/devices.md
# DEVICE  cuda (default), cuda:N, or cpu: then only the precision differs, which exercises the script
# PAIR    environment: DONOR:TARGET families of organisms (default llama:mixtral)
#
# SAEs are trained once, on the CPU, and read by all runs. Status 1 where a bound is missed: in
# float32 the same matches, layer map and recipes, and directions with a cosine above 0.999; in
# bfloat16 a cosine above 0.99. A run that was interrupted goes on where it stopped.
set -euo pipefail

out=${1:?usage: scripts/gpu_check.sh OUT [DEVICE] [MORE OPTIONS OF transfer]}
device=${2:-cuda}
shift $(($# < 2 ? $# : 2))
pair=${PAIR:-llama:mixtral}
declare -A family=([donor]=${pair%%:*} [target]=${pair##*:})

mkdir -p "$out/models"
for side in donor target; do
    printf 'model: organism:%s:0\nsaes: {train: {budget: B0d}}\n' "${family[$side]}" \
        >"$out/models/$side.yaml"
    conceptbasis train-saes "$out/models/$side.yaml" --out "$out/saes-$side" --wandb off --quiet
done

# run NAME DEVICE DTYPE
run() {
    local name=$1 where=$2 dtype=$3 side
    shift 3
    for side in donor target; do
        printf 'model: organism:%s:0\ndtype: %s\nsaes: {folder: %s}\n' \
            "${family[$side]}" "$dtype" "$(realpath "$out/saes-$side")" >"$out/models/$side-$name.yaml"
    done
    # A transfer that the forecast declines has its directions all the same: status 2, a summary.
    conceptbasis transfer --donor "$out/models/donor-$name.yaml" \
        --target "$out/models/target-$name.yaml" --device "$where" --out "$out/$name" --wandb off \
        --set evaluate.controls=false --set 'evaluate.baselines=[]' --set evaluate.n_prompts=100 \
        --set stability.n_splits=0 "$@" || [ -e "$out/$name/summary.json" ]
}

run reference cpu float32 "$@"
[ "$device" = cpu ] || run float32 "$device" float32 "$@"
run bfloat16 "$device" bfloat16 "$@"
python "$(dirname "$0")/compare_devices.py" "$out" | tee "$out/devices.md"
