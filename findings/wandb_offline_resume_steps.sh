#!/usr/bin/env bash
# An offline run of wandb that is resumed by its id counts its steps from 0 again.
#
# Packages: wandb 0.31.0, Python 3.11.
# Input: wandb.init(mode="offline", id="same", resume="must") twice in one folder, each logs three
# rows. The setting asks for a run that exists, or an error.
# Expected: the second part goes on at step 3, or the first call fails since no run exists.
# Seen: no error, run.resumed is false both times, and both parts hold the steps 0, 1, 2. So parts of
# one run that are synced one after the other overlap.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q wandb==0.31.0
cat > run.py <<'PY'
import sys

import wandb

run = wandb.init(
    mode="offline", dir="runs", id="same", resume="must", project="p",
    settings=wandb.Settings(silent=True, console="off"),
)
first = run.step
for row in range(3):
    run.log({"row": 10 * int(sys.argv[1]) + row})
print(f"part {sys.argv[1]}: resumed {run.resumed}, starts at step {first}, ends at step {run.step}")
PY
mkdir runs
{
  v/bin/python run.py 0
  sleep 2
  v/bin/python run.py 1
} | tee seen
diff seen - <<'TXT'
part 0: resumed False, starts at step 0, ends at step 3
part 1: resumed False, starts at step 0, ends at step 3
TXT
