#!/usr/bin/env python3
"""Writes headers/*.json: the config and the names and shapes of tiny models of the architectures that mergegauge knows by their
headers alone, as transformers itself saves them.  Every size is another number, so that no two shapes agree by accident.

Run by hand, in a throw-away virtual environment; neither the build nor the tests need Python:

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0
    venv/bin/python tests/model/make_headers.py tests/model/headers
"""

import json
import os
import struct
import sys
import tempfile

import torch
import transformers as T


def header(folder):
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with open(os.path.join(folder, name), "rb") as file:
                records = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            records.pop("__metadata__", None)
            tensors.update({key: record["shape"] for key, record in records.items()})
    return tensors


def write(out, name, model_class, config):
    torch.manual_seed(0)
    model = model_class(config).to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with open(os.path.join(folder, "config.json")) as file:
            saved = json.load(file)
        tensors = header(folder)
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(shape)}" for key, shape in sorted(tensors.items()))
    with open(os.path.join(out, name + ".json"), "w") as file:
        file.write('{"config": ' + json.dumps(saved) + ',\n "tensors": {\n' + lines + "\n }}\n")


ROPE = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 1e6}
WIDE_ROPE = dict(ROPE, mrope_section=[2, 3, 3], mrope_interleaved=True)
TEXT = dict(vocab_size=130, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=28)
QWEN3_VISION = dict(depth=2, hidden_size=20, intermediate_size=36, num_heads=2, out_hidden_size=48,
                    num_position_embeddings=25, deepstack_visual_indexes=[0, 1])
LLAMA4 = dict(vocab_size=130, hidden_size=48, intermediate_size=28, intermediate_size_mlp=80, num_hidden_layers=4,
              num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_local_experts=4, interleave_moe_layer_step=2,
              bos_token_id=1, eos_token_id=2, pad_token_id=0)
DEEPSEEK = dict(TEXT, num_key_value_heads=4, num_hidden_layers=3, moe_intermediate_size=28, n_shared_experts=2,
                n_routed_experts=8, kv_lora_rank=10, q_lora_rank=14, qk_rope_head_dim=8, v_head_dim=12, qk_nope_head_dim=6,
                n_group=2, topk_group=1, num_experts_per_tok=2, first_k_dense_replace=1)
MINIMAX = dict(TEXT, intermediate_size=28, head_dim=16, num_local_experts=4, num_experts_per_tok=2)

MODELS = {
    "qwen2_vl": (T.Qwen2VLForConditionalGeneration, lambda: T.Qwen2VLConfig(
        text_config=dict(TEXT, rope_parameters=ROPE),
        vision_config=dict(depth=2, embed_dim=20, hidden_size=48, num_heads=2, mlp_ratio=4, patch_size=14))),
    "qwen2_5_vl": (T.Qwen2_5_VLForConditionalGeneration, lambda: T.Qwen2_5_VLConfig(
        text_config=dict(TEXT, rope_parameters=ROPE),
        vision_config=dict(depth=2, hidden_size=20, intermediate_size=36, num_heads=2, out_hidden_size=48,
                           fullatt_block_indexes=[1]))),
    "qwen3_vl": (T.Qwen3VLForConditionalGeneration, lambda: T.Qwen3VLConfig(
        text_config=dict(TEXT, head_dim=16, rope_parameters=WIDE_ROPE), vision_config=QWEN3_VISION, tie_word_embeddings=True)),
    "qwen3_vl_moe": (T.Qwen3VLMoeForConditionalGeneration, lambda: T.Qwen3VLMoeConfig(
        text_config=dict(TEXT, **EXPERTS, head_dim=16, rope_parameters=WIDE_ROPE, tie_word_embeddings=False),
        vision_config=QWEN3_VISION)),
    "qwen3_moe": (T.Qwen3MoeForCausalLM, lambda: T.Qwen3MoeConfig(**TEXT, **EXPERTS, head_dim=16)),
    "llama4": (T.Llama4ForConditionalGeneration, lambda: T.Llama4Config(
        text_config=LLAMA4,
        vision_config=dict(hidden_size=20, intermediate_size=80, num_hidden_layers=2, num_attention_heads=2, image_size=28,
                           patch_size=14, vision_output_dim=24, projector_input_dim=24, projector_output_dim=24))),
    "llama4_text": (T.Llama4ForCausalLM, lambda: T.Llama4TextConfig(**LLAMA4)),
    "gemma3": (T.Gemma3ForConditionalGeneration, lambda: T.Gemma3Config(
        text_config=dict(TEXT, head_dim=16),
        vision_config=dict(hidden_size=20, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2, image_size=28,
                           patch_size=14, vision_use_head=False), mm_tokens_per_image=4)),
    "ernie4_5_vl_moe": (T.Ernie4_5_VLMoeForConditionalGeneration, lambda: T.Ernie4_5_VLMoeConfig(
        text_config=dict(TEXT, moe_num_experts=4, moe_k=2, moe_intermediate_size=[28, 12], moe_num_shared_experts=2,
                         rope_parameters=ROPE),
        vision_config=dict(depth=2, hidden_size=20, intermediate_size=80, num_heads=2))),
    "deepseek_v3": (T.DeepseekV3ForCausalLM, lambda: T.DeepseekV3Config(**DEEPSEEK)),
    "deepseek_v3_whole_queries": (T.DeepseekV3ForCausalLM, lambda: T.DeepseekV3Config(
        **dict(DEEPSEEK, q_lora_rank=None, attention_bias=True, num_nextn_predict_layers=0))),
    "minimax_m2": (T.MiniMaxM2ForCausalLM, lambda: T.MiniMaxM2Config(**MINIMAX)),
    "minimax": (T.MiniMaxForCausalLM, lambda: T.MiniMaxConfig(**dict(MINIMAX, num_hidden_layers=4))),
}

if __name__ == "__main__":
    for name, (model_class, config) in MODELS.items():
        write(sys.argv[1], name, model_class, config())
