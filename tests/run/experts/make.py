# Writes this folder's adapter (LoRA on fused experts by PEFT's target_parameters, random) and the logits that
# transformers + PEFT compute with it on ../../golden/qwen3-moe in float64.
# usage: python make.py OUT     in a virtual environment with torch, transformers 5.23, peft 0.21 and safetensors
import json
import os
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

out = sys.argv[1]
case = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../golden/qwen3-moe")
torch.manual_seed(7)


def base(dtype):
    # "eager" experts: the grouped kernels know no float64
    return AutoModelForCausalLM.from_pretrained(case + "/base", dtype=dtype, experts_implementation="eager")


model = get_peft_model(base(torch.bfloat16), LoraConfig(
    r=4, lora_alpha=8, target_modules=["q_proj"], task_type="CAUSAL_LM",
    target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]))
for name, parameter in model.named_parameters():
    if "lora_A" in name:
        torch.nn.init.normal_(parameter, std=0.2)
    if "lora_B" in name:
        torch.nn.init.normal_(parameter, std=0.05)
model.save_pretrained(out + "/adapter")


def load(dtype):
    adapted = PeftModel.from_pretrained(base(dtype), out + "/adapter", autocast_adapter_dtype=False)
    return adapted.to(dtype).eval()


exact, single = load(torch.float64), load(torch.float32)
logits, noise = {}, 0.0
with torch.no_grad():
    for line in open(case + "/inputs.jsonl"):
        prompt = json.loads(line)
        ids = torch.tensor([prompt["input_ids"]])
        row = exact(ids).logits[0]
        noise = max(noise, (row - single(ids).logits[0].double()).abs().max().item())
        logits[prompt["id"] + ".adapter"] = row.float().contiguous()
save_file(logits, out + "/expected.safetensors")
json.dump({"float32_noise_max_abs": noise}, open(out + "/expected.json", "w"))
