#!/usr/bin/env bash
# torch's argmax of bfloat16 logits takes several times as long as max, which gives the same index.
#
# Packages: torch 2.13.0 (CPU), Python 3.11.
# Input: 128 rows of 262,144 bfloat16 logits, one thread, processor time, best of five.
# Expected: argmax(-1) and max(-1).indices cost about the same, and so do a sum and aminmax() as a
# test for values that are not finite.
# Seen: argmax takes 5 to 6 times as long as max (in float32 they are alike), and a sum in float64
# about 40 times as long as aminmax(), which is NaN or infinite if one value is. For 128 rows of a
# vocabulary like Gemma 3's each of the two slow ones costs as much as the product with the head.
# Exit status: 0 while argmax takes more than 3 times and the sum more than 10 times as long and the
# results are equal, 1 when that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q torch==2.13.0 numpy
v/bin/python - <<'PY'
import time

import torch

torch.set_num_threads(1)
logits = torch.randn(128, 262_144, generator=torch.Generator().manual_seed(0)).bfloat16()


def seconds(function):
    function()
    found = []
    for _ in range(5):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return min(found)


same = bool((logits.argmax(-1) == logits.max(-1).indices).all())
slow = seconds(lambda: logits.argmax(-1)) / seconds(lambda: logits.max(-1))
wide = logits.float()
alike = seconds(lambda: wide.argmax(-1)) / seconds(lambda: wide.max(-1))
summed = seconds(lambda: logits.sum(dtype=torch.float64)) / seconds(lambda: logits.aminmax())
print(f"argmax / max: {slow:.1f} in bfloat16, {alike:.1f} in float32; same index: {same}")
print(f"sum in float64 / aminmax: {summed:.0f}")
raise SystemExit(0 if same and slow > 3 and alike < 2 and summed > 10 else 1)
PY
