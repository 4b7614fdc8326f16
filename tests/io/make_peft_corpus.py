#!/usr/bin/env python3
"""Writes what PEFT itself says about adapters, for the tests of the adapter reader.

    peft_adapters.jsonl   adapters that PEFT saved, as config and tensor names with shapes, and what PEFT had built: the
                          modules it wrapped with rank and scale, the tensors it trained whole, the token rows
    peft_matching.jsonl   random configs and module names with the answers of check_target_module_exists and get_pattern_key

Run by hand, in a throw-away virtual environment; neither the build nor the tests need Python:

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2
    venv/bin/python tests/io/make_peft_corpus.py tests/io
"""

import json
import os
import random
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper, get_pattern_key
from safetensors import safe_open
from transformers import (GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)

PREFIX = "base_model.model."


def qwen2(tied=False):
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=tied))


def qwen3_moe():
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(vocab_size=32, hidden_size=16, intermediate_size=24, moe_intermediate_size=12,
                                              num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                                              num_experts=4, num_experts_per_tok=2))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2))


ADAPTERS = [
    ("plain", qwen2, dict(target_modules=["q_proj", "v_proj"])),
    ("rslora, patterns", qwen2, dict(target_modules=["q_proj", "down_proj"], use_rslora=True,
                                     rank_pattern={"down_proj": 2, r"layers\.1\..*q_proj": 8}, alpha_pattern={"^model.layers.0.*": 32})),
    ("regular expression", qwen2, dict(target_modules=r".*layers\.1.*\.(q|k)_proj")),
    ("all-linear", qwen2, dict(target_modules="all-linear", exclude_modules=["k_proj"])),
    ("excluded by expression", qwen2, dict(target_modules=["q_proj", "k_proj"], exclude_modules=r".*layers\.0\..*")),
    ("one layer", qwen2, dict(target_modules=["q_proj"], layers_to_transform=1)),
    ("layers by pattern", qwen2, dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[0], layers_pattern="layers")),
    ("lora_bias", qwen2, dict(target_modules=["q_proj"], lora_bias=True)),
    ("bias all", qwen2, dict(target_modules=["q_proj"], bias="all")),
    ("bias lora_only", qwen2, dict(target_modules=["q_proj", "o_proj"], bias="lora_only")),
    ("dora", qwen2, dict(target_modules=["q_proj", "embed_tokens"], use_dora=True)),
    ("modules_to_save", qwen2, dict(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])),
    ("modules_to_save, whole blocks", qwen2, dict(target_modules=["q_proj"], modules_to_save=["mlp", "norm"])),
    ("modules_to_save, tied", lambda: qwen2(True), dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    ("embeddings", qwen2, dict(target_modules=["embed_tokens", "lm_head"])),
    ("embeddings, tied", lambda: qwen2(True), dict(target_modules=["embed_tokens"], ensure_weight_tying=True)),
    ("token rows", qwen2, dict(target_modules=["q_proj"], trainable_token_indices=[3, 1])),
    ("token rows by module", qwen2, dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [1, 2], "lm_head": [4]})),
    ("fused experts, one parameter", qwen3_moe, dict(target_modules=[], target_parameters=["mlp.experts.gate_up_proj"])),
    ("fused experts, other parameter", qwen3_moe, dict(target_parameters=["mlp.experts.down_proj"])),
    ("fused experts, both, and attention", qwen3_moe, dict(target_modules=["q_proj"], rank_pattern={"experts.down_proj": 2},
                                                           target_parameters=["mlp.experts.down_proj", "mlp.experts.gate_up_proj"])),
    ("router as a parameter", qwen3_moe, dict(target_modules=[], target_parameters=["mlp.gate.weight"])),
    ("Conv1D", gpt2, dict(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    ("token rows, other embedding name", gpt2, dict(target_modules=["c_attn"], fan_in_fan_out=True, trainable_token_indices=[5])),
]


def built(model):
    """What PEFT wrapped, by the names of the base model."""
    pairs, saved, rows = [], [], []
    for name, module in model.named_modules():
        path = name.removeprefix(PREFIX).replace(".base_layer", "")
        if isinstance(module, ParamWrapper):
            pairs.append([f"{path}.{module.parameter_name}", module.r["default"], module.scaling["default"]])
        elif isinstance(module, LoraLayer):
            pairs.append([path, module.r["default"], module.scaling["default"]])
        elif isinstance(module, ModulesToSaveWrapper):
            saved += [f"{path}.{key}" for key in module.modules_to_save["default"].state_dict()]
        elif isinstance(module, TrainableTokensWrapper):
            rows.append([f"{path}.weight", list(module.token_adapter.token_indices["default"])])
    return {"pairs": sorted(pairs), "saved": sorted(saved), "rows": sorted(rows)}


def write_adapters(path):
    with open(path, "w", encoding="ascii") as out:
        for name, make, options in ADAPTERS:
            torch.manual_seed(0)
            model = get_peft_model(make(), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options))
            folder = tempfile.mkdtemp()
            model.save_pretrained(folder)
            with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as config_file:
                config = config_file.read()
            with safe_open(os.path.join(folder, "adapter_model.safetensors"), "pt") as weights:
                tensors = {key: weights.get_slice(key).get_shape() for key in weights.keys()}
            out.write(json.dumps({"name": name, "config": config, "tensors": tensors, **built(model)}) + "\n")


def module_names(rng):
    roots = ["model.layers", "model.language_model.layers", "transformer.h", "model.visual.blocks", "layers"]
    leaves = ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj", "mlp.experts.3.up_proj", "attn.c_attn", "q_proj", "mlp.0"]
    names = ["lm_head", "model.embed_tokens", "q_proj", "model.norm", "xq_proj", "model.xlm_head"]
    return names + [f"{rng.choice(roots)}.{rng.choice([0, 1, 2, 10, 11])}.{rng.choice(leaves)}" for _ in range(24)]


def random_config(rng):
    items = ["q_proj", "k_proj", "down_proj", "self_attn.q_proj", "model.layers.1.self_attn.q_proj", "lm_head", "up_proj", "c_attn", "0", "1"]
    expressions = [r".*q_proj", r".*\.(q|k)_proj", r"model\.layers\.(1|11)\..*", r"(?!.*visual).*(q_proj|down_proj)", r".*\.\d+\.mlp.*",
                   r"lm_head", r"model.*", r".*layers\.[01]\.self_attn\.q_proj$", r".*(?P<kind>mlp)\..*", r"\S+q_proj", r"^layers.*", ""]
    config = {"target_modules": rng.choice([rng.sample(items, rng.randrange(0, 4)), rng.choice(expressions)])}
    if rng.random() < 0.4:
        config["exclude_modules"] = rng.choice([rng.sample(items, 1), rng.choice(expressions)])
    if rng.random() < 0.3:
        config["modules_to_save"] = rng.sample(["lm_head", "embed_tokens", "mlp", "norm", "q_.*", "layers.1"], rng.randrange(1, 3))
    if isinstance(config["target_modules"], list) and rng.random() < 0.4:
        config["layers_to_transform"] = rng.choice([1, 0, [0, 10], [11], []])
        if rng.random() < 0.5:
            config["layers_pattern"] = rng.choice(["layers", ["layers", "h"], "blocks", "", "lay.*", []])
    keys = items + [r".*q_proj", r"layers\.1.*", r"model.layers.1.*", r"^.*down_proj", r"(q|k)_proj", r"layers.1", "q_pro.", "experts.3.up_proj"]
    config["rank_pattern"] = {key: rng.randrange(1, 64) for key in rng.sample(keys, rng.randrange(0, 4))}
    config["alpha_pattern"] = {key: rng.choice([1, 2.5, 16, 64]) for key in rng.sample(keys, rng.randrange(0, 4))}
    return config


def write_matching(path):
    rng = random.Random(7)
    with open(path, "w", encoding="ascii") as out:
        for _ in range(400):
            options = random_config(rng)
            config = LoraConfig(r=8, lora_alpha=16, **options)
            answers = {}
            for module in module_names(rng):
                rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), module), config.r)
                alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
                answers[module] = [bool(check_target_module_exists(config, module)), rank, alpha]
            line = {"config": {"peft_type": "LORA", "r": 8, "lora_alpha": 16, **options}, "modules": answers}
            out.write(json.dumps(line, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    write_adapters(os.path.join(sys.argv[1], "peft_adapters.jsonl"))
    write_matching(os.path.join(sys.argv[1], "peft_matching.jsonl"))
