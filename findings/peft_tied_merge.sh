#!/usr/bin/env bash
# Merging a LoRA of the embedding of a model that ties embedding and head changes what it computes.
#
# Packages: peft 0.21.2, transformers 5.23.0, torch 2.13.0, Python 3.11.
# Input: a small random Llama with tie_word_embeddings=True and a random LoRA on embed_tokens, once
# with ensure_weight_tying=False and once with True.
# Expected: merge_and_unload() gives a model with the log-probabilities of the adapted one, or
# refuses.
# Seen: without ensure_weight_tying the update also reaches the head, which the adapted model leaves
# as it is; with it, the update is added twice to the one shared weight. The same LoRA on o_proj, and
# on the embedding of a model that ties nothing, is merged rightly. peft warns of "complications" in
# the first case, before the merge, and returns a model in both.
# Exit status: 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv v
v/bin/pip install -q peft==0.21.2 transformers==5.23.0 torch==2.13.0
cat > show.py <<'PY'
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

IDS = torch.tensor([[5, 9, 40, 7]])


@torch.no_grad()
def log_probs(model):
    return model(input_ids=IDS).logits.log_softmax(-1)


def show(tied, target, ensure):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    base = LlamaForCausalLM(config)
    before = base.get_input_embeddings().weight.detach().clone()
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=[target], ensure_weight_tying=ensure)
    adapted = get_peft_model(base, lora).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape))
    expected = log_probs(adapted)
    times = ""
    if target == "embed_tokens":
        update = adapted.get_base_model().get_input_embeddings().get_delta_weight("default")
    merged = adapted.merge_and_unload()
    if target == "embed_tokens":
        added = merged.get_input_embeddings().weight - before
        times = f", update added {float((added * update).sum() / update.square().sum()):.0f} times"
    off = float((log_probs(merged) - expected).abs().max())
    same = "the same" if off < 1e-4 else "another"
    print(f"tied={tied} {target} ensure_weight_tying={ensure}: {same} model{times}")


show(True, "embed_tokens", False)
show(True, "embed_tokens", True)
show(True, "o_proj", False)
show(False, "embed_tokens", False)
PY
v/bin/python show.py 2>/dev/null | tee seen
diff seen - <<'TXT'
tied=True embed_tokens ensure_weight_tying=False: another model, update added 1 times
tied=True embed_tokens ensure_weight_tying=True: another model, update added 2 times
tied=True o_proj ensure_weight_tying=False: the same model
tied=False embed_tokens ensure_weight_tying=False: the same model, update added 1 times
TXT
