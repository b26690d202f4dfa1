#!/usr/bin/env bash
# Whole transfers at the size of real models, random weights: time by stage, memory, tokens/s.
#
#   scripts/gpu_scale.sh OUT [DEVICE] [MORE OPTIONS OF scripts/gpu_scale.py]
#
# OUT       folder of models, SAEs, runs and the rows, OUT/scale.jsonl
# DEVICE    cuda (default), cuda:N, or cpu
# SHAPES    environment: which shapes (default: all four)
# FEATURES  environment: features of the SAEs (default: "16384 65536")
#
# Without a GPU, at a reduced size: scripts/gpu_scale.sh OUT cpu --reduce 32 --prompts 8 --tokens 16
set -euo pipefail

out=${1:?usage: scripts/gpu_scale.sh OUT [DEVICE] [MORE OPTIONS OF scripts/gpu_scale.py]}
device=${2:-cuda}
shift $(($# < 2 ? $# : 2))
for shape in ${SHAPES:-Llama-3.2-1B Qwen3-4B Llama-3.1-8B OLMoE-1B-7B}; do
    for features in ${FEATURES:-16384 65536}; do
        echo "== $shape, $features features"
        python "$(dirname "$0")/gpu_scale.py" "$out" --shape "$shape" --features "$features" \
            --device "$device" "$@"
    done
done
