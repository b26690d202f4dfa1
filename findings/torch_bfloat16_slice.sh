#!/usr/bin/env bash
# With frozen parameters, the logits of the last position take hundreds of times as long in bfloat16 on the
# CPU as they should, with memory for the head's weights once for each row of the batch.
#
# Packages: torch 2.13.0, transformers 5.23.0, Python 3.11, Linux on x86-64, CPU.
# Input: a small random Llama with a vocabulary of 65,536, 16 rows of 40 tokens, logits_to_keep=1, as
# `generate` asks for after a prompt; its parameters ask for no gradient.
# Expected: about the time of the model without its head plus one small product, in both formats.
# Seen: transformers gives the head the slice h[:, -1:], which is not contiguous. Where the weights ask for
# a gradient, torch folds the rows of the batch into one product, also under no_grad. Where they do not,
# it multiplies each row by the weights on its own, and in bfloat16 writes them out for each row. The
# same slice made contiguous gives the same logits at once. Two cores, bfloat16: 0.003 s contiguous,
# hundreds of times as long as a slice; float32: a few times. With a vocabulary of 262,144 and 64 rows torch
# asks for 40 GiB, warns "mkldnn_matmul failed", and goes on more slowly.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q torch==2.13.0 transformers==5.23.0
cat > show.py <<'PY'
import resource
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=65536, hidden_size=256, intermediate_size=512, num_hidden_layers=1,
    num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True,
)
model = LlamaForCausalLM(config).eval().requires_grad_(False)
ids = torch.randint(0, 65536, (16, 40))


def seconds(run):
    times = []
    for _ in range(4):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


found = {}
for dtype, frozen in ((torch.float32, True), (torch.bfloat16, False), (torch.bfloat16, True)):
    model.to(dtype).requires_grad_(not frozen)
    with torch.no_grad():
        hidden = model.model(ids).last_hidden_state
        body = seconds(lambda: model.model(ids))
        copied = seconds(lambda: model.lm_head(hidden[:, -1:].contiguous()))
        before = peak()
        sliced = seconds(lambda: model.lm_head(hidden[:, -1:]))
        whole = seconds(lambda: model(ids, logits_to_keep=1))
        apart = (model.lm_head(hidden[:, -1:].contiguous()) - model.lm_head(hidden[:, -1:])).abs().max()
    found[dtype, frozen] = sliced / copied, whole / (body + copied)
    print(
        f"{dtype}, {'frozen' if frozen else 'not frozen'}: head on a contiguous copy {copied:.4f} s, on the slice {sliced:.4f} s "
        f"({sliced / copied:.0f} times, peak {peak() - before:+.2f} GB); "
        f"the model with logits_to_keep=1 {whole:.3f} s, its body {body:.3f} s; "
        f"largest difference of the logits {float(apart):.2g}"
    )
slow = found[torch.bfloat16, True][0] > 20 and found[torch.bfloat16, True][1] > 5
slow = slow and found[torch.bfloat16, False][0] < 5 and found[torch.float32, True][0] < 20
print("seen as described" if slow else "changed")
raise SystemExit(0 if slow else 1)
PY
v/bin/python show.py
