#!/usr/bin/env bash
# transformers leaves the rotary scaling of a GGUF file out, without a word.
#
# Packages: transformers 5.23.0, gguf 0.19.0, accelerate 1.15.0, torch 2.13.0, Python 3.11.
# Input: a small Llama GGUF written here with the gguf package; its header holds
# llama.rope.scaling.type = linear and llama.rope.scaling.factor = 4.0.
# Expected: a configuration with rope_type linear and factor 4.0, or an error.
# Seen: rope_type default and no factor, so that positions are four times as far apart as the
# model was made for.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q transformers==5.23.0 gguf==0.19.0 accelerate==1.15.0 torch==2.13.0
cat > show.py <<'PY'
import gguf
import numpy as np
from transformers import AutoConfig

width, heads, inner, vocabulary = 32, 4, 64, 40
writer = gguf.GGUFWriter("tiny.gguf", "llama")
writer.add_context_length(512)
writer.add_embedding_length(width)
writer.add_block_count(1)
writer.add_feed_forward_length(inner)
writer.add_head_count(heads)
writer.add_head_count_kv(heads)
writer.add_layer_norm_rms_eps(1e-6)
writer.add_vocab_size(vocabulary)
writer.add_rope_freq_base(10000.0)
writer.add_rope_dimension_count(width // heads)
writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
writer.add_rope_scaling_factor(4.0)
draw = np.random.default_rng(0)
shapes = {"token_embd": (vocabulary, width), "output_norm": (width,), "blk.0.attn_norm": (width,)}
shapes |= {f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
shapes |= {"blk.0.ffn_norm": (width,), "blk.0.ffn_gate": (inner, width)}
shapes |= {"blk.0.ffn_up": (inner, width), "blk.0.ffn_down": (width, inner)}
for name, shape in shapes.items():
    writer.add_tensor(f"{name}.weight", draw.standard_normal(shape, dtype=np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

fields = gguf.GGUFReader("tiny.gguf").fields
for key in ("llama.rope.scaling.type", "llama.rope.scaling.factor"):
    print("file:", key, "=", fields[key].contents())
config = AutoConfig.from_pretrained(".", gguf_file="tiny.gguf")
print("loaded:", dict(sorted(config.rope_parameters.items())))
PY
v/bin/python show.py 2>/dev/null | tee seen
diff seen - <<'TXT'
file: llama.rope.scaling.type = linear
file: llama.rope.scaling.factor = 4.0
loaded: {'rope_theta': 10000.0, 'rope_type': 'default'}
TXT
