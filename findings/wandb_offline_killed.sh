#!/usr/bin/env bash
# An offline run of wandb that is killed within 15 s of its start leaves a file of seven bytes.
#
# Packages: wandb 0.31.0, Python 3.11.
# Input: an offline run that logs ten rows; its process and wandb's service are killed two seconds
# later, once as it is and once with the setting x_transaction_log_flush_interval=0.2.
# Expected: what run.log() has returned from two seconds before is in the run's file.
# Seen: seven bytes, the header of the file: records are written in intervals of 15 s. With the
# setting, whose name says that it is not public, all ten rows are there.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q wandb==0.31.0
cat > run.py <<'PY'
import sys
import time

import wandb

more = {"x_transaction_log_flush_interval": float(sys.argv[2])} if len(sys.argv) > 2 else {}
run = wandb.init(
    mode="offline", dir=sys.argv[1], settings=wandb.Settings(silent=True, console="off", **more)
)
for row in range(10):
    run.log({"row": row})
print("logged", flush=True)
time.sleep(60)
PY
cat > show.py <<'PY'
import os
import pathlib
import signal
import subprocess
import sys
import time

name, given = sys.argv[1], sys.argv[2:]
os.mkdir(name)
process = subprocess.Popen(
    [sys.executable, "run.py", name, *given],
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
)
process.stdout.readline()
time.sleep(2)
os.killpg(process.pid, signal.SIGKILL)
process.wait()
(file,) = pathlib.Path(name).rglob("*.wandb")
data = file.read_bytes()
size = "7 bytes" if len(data) == 7 else "more bytes"
print(f"{name}: {size}, {data.count(b'_runtime') > 9 and 'all rows' or 'no rows'}")
PY
{
  v/bin/python show.py as_it_is
  v/bin/python show.py with_the_setting 0.2
} | tee seen
diff seen - <<'TXT'
as_it_is: 7 bytes, no rows
with_the_setting: more bytes, all rows
TXT
