#!/usr/bin/env bash
# wandb marks a run that ended by `raise SystemExit(143)` as finished without an error.
#
# Packages: wandb 0.31.0, Python 3.11.
# Input: three offline runs that end by sys.exit(143), by raise SystemExit(143), which Python
# defines as the same, and by an exception. Each process's own status is read, and the status in
# the run's file.
# Expected: the run's status is the process's in all three.
# Seen: 143, 0 and 1. wandb learns the status from a replaced sys.exit and from the hook for
# uncaught exceptions, which Python does not call for SystemExit.
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

wandb.init(mode="offline", dir=sys.argv[1], settings=wandb.Settings(silent=True, console="off"))
match sys.argv[1]:
    case "call":
        sys.exit(143)
    case "raise":
        raise SystemExit(143)
    case "error":
        raise ValueError("as planned")
PY
cat > show.py <<'PY'
import os
import pathlib
import struct
import subprocess
import sys

from wandb.proto.wandb_internal_pb2 import Record


def status_in(data):
    """The exit status in a LevelDB log of records that all lie in one block."""
    place, found = 7, None
    while place + 7 <= len(data):
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        assert kind == 1, kind
        record = Record()
        record.ParseFromString(data[place + 7 : place + 7 + length])
        found = record.exit.exit_code if record.HasField("exit") else found
        place += 7 + length
    return found


for way in ("call", "raise", "error"):
    os.mkdir(way)
    done = subprocess.run([sys.executable, "run.py", way], capture_output=True)
    (file,) = pathlib.Path(way).rglob("*.wandb")
    print(f"{way}: process {done.returncode}, run {status_in(file.read_bytes())}")
PY
v/bin/python show.py | tee seen
diff seen - <<'TXT'
call: process 143, run 143
raise: process 143, run 0
error: process 1, run 1
TXT
