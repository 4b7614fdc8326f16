#!/usr/bin/env python3
"""Writes cases/: small checkpoints of every form that harness/io/scaled_weights.h reads, and what the libraries' own code
dequantises them to (as SHA-256 of the FP32 numbers, row by row).  Recorded with torch 2.15.0 on a CPU, transformers 5.23.0,
AutoGPTQ 0.7.1, GPTQModel 7.7.0, AutoAWQ 0.2.9, compressed-tensors 0.20.0 and, for g_idx, 0.12.2; seeded.

usage: make.py OUT PACKAGES
PACKAGES holds the unpacked files of PyPI's auto_gptq, gptqmodel, autoawq, ct (compressed_tensors 0.20.0), ct_old (0.12.2): none is
installed, since their compiled parts are not needed, and of three only one file is.
"""
import ast
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import types

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

OUT, PACKAGES = (sys.argv + ["", ""])[1:3]
HIDDEN, INNER, LAYERS, HEADS, VOCAB = 32, 48, 2, 2, 32
SHAPES = {"self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32), "self_attn.o_proj": (32, 32),
          "mlp.gate_proj": (INNER, 32), "mlp.up_proj": (INNER, 32), "mlp.down_proj": (32, INNER)}


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, os.path.join(PACKAGES, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- the libraries' own code ----

def auto_gptq(parts, bits, group):
    """AutoGPTQ's torch path dequantises and multiplies at once: what it would multiply by is caught."""
    layer_class = load("qlinear_cuda", "auto_gptq/auto_gptq/nn_modules/qlinear/qlinear_cuda.py").QuantLinear
    inputs, outputs = parts["qweight"].shape[0] * 32 // bits, parts["qweight"].shape[1]
    layer = layer_class.__new__(layer_class)
    torch.nn.Module.__init__(layer)
    layer.bits, layer.outfeatures, layer.bias, layer.autogptq_cuda_available = bits, outputs, None, False
    layer.kernel_switch_threshold = 0
    layer.wf = torch.tensor(list(range(0, 32, bits)), dtype=torch.int32).unsqueeze(0)
    for name in ("qweight", "qzeros", "scales"):
        setattr(layer, name, parts[name])
    layer.g_idx = parts.get("g_idx", torch.arange(inputs, dtype=torch.int32) // (inputs if group == -1 else group))
    matmul, torch.matmul = torch.matmul, lambda x, weights: weights
    try:
        return layer(torch.eye(inputs, dtype=parts["scales"].dtype)).t().contiguous()
    finally:
        torch.matmul = matmul


def gptqmodel(parts, bits, group):
    """GPTQModel's dequantize_weight, taken out of its file, which imports compiled extensions."""
    path = os.path.join(PACKAGES, "gptqmodel/gptqmodel/nn_modules/qlinear/__init__.py")
    wanted = {"_torch_right_shift", "dequantize_weight", "_dequantize_from_codes"}
    tree = ast.parse(open(path).read())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    scope = {"t": torch, "torch": torch}
    exec(compile(ast.Module(found, []), path, "exec"), scope)
    inputs = parts["qweight"].shape[0] * 32 // bits
    wf = torch.tensor(list(range(0, 32, bits)), dtype=torch.int32)
    layer = types.SimpleNamespace(
        planar=False, bits=bits, maxq=2 ** bits - 1, pack_factor=32 // bits, in_features=inputs,
        dequant_dtype=torch.int16 if bits == 8 else torch.int8, wf_unsqueeze_zero=wf.view(1, 1, -1),
        wf_unsqueeze_neg_one=wf.view(1, -1, 1), _init_wf_unsqueeze_buffers=lambda: None, **parts)
    if not hasattr(layer, "g_idx"):
        layer.g_idx = torch.arange(inputs, dtype=torch.int32) // (inputs if group == -1 else group)
    layer._dequantize_from_codes = lambda *a, **k: scope["_dequantize_from_codes"](layer, *a, **k)
    return scope["dequantize_weight"](layer).t().contiguous()


def auto_awq(parts, group):
    code = load("packing_utils", "autoawq/awq/utils/packing_utils.py")
    group = parts["qweight"].shape[0] if group == -1 else group
    return code.dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"], 4, group).t().contiguous()


def compressed(parts, scheme, fmt):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    compressor = BaseCompressor.get_value_from_registry(fmt)
    return compressor.decompress(parts, QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**scheme)))["weight"]


def compressed_by_old_version(parts, scheme):
    """With g_idx, which 0.20 no longer reads: in a process of its own, since the package has one name."""
    with tempfile.TemporaryDirectory() as folder:
        save_file(parts, os.path.join(folder, "in"), {"scheme": json.dumps(scheme)})
        path = os.pathsep.join(os.path.join(PACKAGES, name) for name in ("ct_old", "deps"))
        subprocess.run([sys.executable, __file__, "--old", folder], check=True, env=dict(os.environ, PYTHONPATH=path))
        return load_file(os.path.join(folder, "out"))["weight"]


def old_version(folder):
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    with safe_open(os.path.join(folder, "in"), "pt") as file:
        args = QuantizationArgs(**json.loads(file.metadata()["scheme"]))
        parts = {name: file.get_tensor(name) for name in file.keys()}
    codes = unpack_from_int32(parts["weight_packed"], args.num_bits, torch.Size(parts["weight_shape"].tolist()))
    weight = dequantize(x_q=codes, scale=parts["weight_scale"], zero_point=None, args=args, g_idx=parts["weight_g_idx"])
    save_file({"weight": weight.contiguous()}, os.path.join(folder, "out"))


def fp8_grid(weight, scale):
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize
    return Fp8Dequantize(None)._dequantize_one(weight, scale, torch.float32)


def fp8_ragged(weight, scale, block):
    from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight
    return _dequantize_fp8_weight(weight, scale, block, torch.float32)


def mxfp4(blocks, scales):
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
    return convert_moe_packed_tensors(blocks, scales)


# ---- random parts ----

class Random:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def words(self, *shape):
        return torch.from_numpy(self.rng.integers(-2**31, 2**31, shape, dtype=np.int64).astype(np.int32))

    def scales(self, dtype, *shape, size=0.01, odd=False):
        """`odd`: subnormal ones, zeros and the largest among them."""
        values = torch.from_numpy(self.rng.uniform(0.5, 1.5, shape) * size).to(dtype)
        if odd:
            flat = values.view(-1)
            for i, value in enumerate([6e-8, 0.0, -0.0, 60000.0, -0.02]):
                flat[i * 3 % flat.numel()] = value
        return values

    def fp8(self, *shape):
        codes = self.rng.integers(0, 256, shape, dtype=np.uint8)
        codes[(codes & 0x7F) == 0x7F] = 0  # NaN
        return torch.from_numpy(codes).view(torch.float8_e4m3fn)

    def groups(self, inputs, group):
        return torch.from_numpy(self.rng.permutation(np.repeat(np.arange(inputs // group), group)).astype(np.int32))

    def gptq(self, outputs, inputs, bits, group, dtype=torch.float16, order=False, **how):
        count = 1 if group == -1 else inputs // group
        parts = {"qweight": self.words(inputs * bits // 32, outputs), "qzeros": self.words(count, outputs * bits // 32),
                 "scales": self.scales(dtype, count, outputs, **how)}
        if order:
            parts["g_idx"] = self.groups(inputs, group)
        return parts

    def awq(self, outputs, inputs, group, dtype=torch.float16, **how):
        count = 1 if group == -1 else inputs // group
        return {"qweight": self.words(inputs, outputs // 8), "qzeros": self.words(count, outputs // 8),
                "scales": self.scales(dtype, count, outputs, **how)}


# ---- cases ----

def digest(weight):
    return hashlib.sha256(weight.to(torch.float32).numpy().tobytes()).hexdigest()


def write(name, quantization, tensors, weights, extra=None, config=None):
    folder = os.path.join(OUT, "cases", name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump({**(config or {}), "quantization_config": quantization}, file, indent=1)
        file.write("\n")
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, os.path.join(folder, "model.safetensors"))
    expected = {"dequantised": {k: {"shape": list(w.shape), "sha256": digest(w)} for k, w in weights.items()}, **(extra or {})}
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(expected, file, indent=1)
        file.write("\n")


def model_case(name, quantization, module_parts, dequantise, dtype=torch.float16, seed=0):
    """A Qwen2 of two layers, with the logits of the reference implementation in FP64 on the dequantised weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM
    keys = dict(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                num_key_value_heads=1, vocab_size=VOCAB, max_position_embeddings=64, tie_word_embeddings=True,
                rms_norm_eps=1e-6, use_sliding_window=False)
    random = Random(seed)
    tensors, weights, plain = {}, {}, {}
    noise = lambda *shape, size: torch.from_numpy(random.rng.normal(0, size, shape)).to(dtype)
    plain["model.embed_tokens.weight"] = noise(VOCAB, HIDDEN, size=0.3)
    plain["model.norm.weight"] = 1 + noise(HIDDEN, size=0.1)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            plain[f"{at}{norm}.weight"] = 1 + noise(HIDDEN, size=0.1)
        for module, (outputs, inputs) in SHAPES.items():
            if module[-6] in "qkv" and module.startswith("self_attn.") and module != "self_attn.o_proj":
                plain[f"{at}{module}.bias"] = noise(outputs, size=0.1)
            parts = module_parts(random, outputs, inputs)
            tensors.update({f"{at}{module}.{k}": v for k, v in parts.items()})
            weights[f"{at}{module}.weight"] = dequantise(parts)
    config = Qwen2Config(**keys, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    ids = torch.tensor([random.rng.integers(0, VOCAB, 12).tolist()])
    logits = {}
    for precision in (torch.float64, torch.float32):
        model = Qwen2ForCausalLM(config).to(precision).eval()
        state = {k: v.to(precision) for k, v in {**plain, **weights}.items()}
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
        model.load_state_dict(state, strict=True)
        with torch.no_grad():
            logits[precision] = model(input_ids=ids).logits[0].double()
    difference = (logits[torch.float64] - logits[torch.float32]).abs().max().item()
    written = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rope_theta": 10000.0,
               "torch_dtype": str(dtype).removeprefix("torch."), **keys}
    write(name, quantization, {**plain, **tensors}, weights, {"float32_noise_max_abs": difference}, written)
    folder = os.path.join(OUT, "cases", name)
    save_file({"p0.base": logits[torch.float64].float()}, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(folder, "inputs.jsonl"), "w") as file:
        file.write(json.dumps({"id": "p0", "input_ids": ids[0].tolist()}) + "\n")


def gptq_cases():
    settings = lambda bits, group, order, fmt, sym: {
        "quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": order, "sym": sym, "checkpoint_format": fmt}
    model_case("gptq", settings(4, 16, True, "gptq", False), lambda r, o, i: r.gptq(o, i, 4, 16, order=True),
               lambda p: auto_gptq(p, 4, 16))
    for i, (bits, group, order, fmt, dtype) in enumerate([
            (4, 16, False, "gptq", torch.float16), (4, 32, True, "gptq_v2", torch.float16), (8, 16, False, "gptq", torch.float16),
            (8, 16, True, "gptq_v2", torch.bfloat16), (2, -1, False, "gptq", torch.float16), (4, -1, False, "gptq_v2", torch.float32)]):
        parts = Random(100 + i).gptq(48, 64, bits, group, dtype, order, odd=True)
        if i == 0:
            parts["g_idx"] = torch.arange(64, dtype=torch.int32) // 16
        weight = (auto_gptq if fmt == "gptq" else gptqmodel)(parts, bits, group)
        write(f"gptq-{bits}bit-{'whole' if group == -1 else group}{'-ordered' if order else ''}{'-v2' if fmt == 'gptq_v2' else ''}",
              settings(bits, group, order, fmt, i % 2 == 0), {f"model.a.{k}": v for k, v in parts.items()}, {"model.a.weight": weight})


def awq_cases():
    settings = lambda group: {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True,
                              "modules_to_not_convert": None}
    model_case("awq", settings(16), lambda r, o, i: r.awq(o, i, 16), lambda p: auto_awq(p, 16), seed=1)
    for i, (group, dtype) in enumerate([(32, torch.float16), (-1, torch.bfloat16)]):
        parts = Random(200 + i).awq(48, 64, group, dtype, odd=True)
        write(f"awq-{'whole' if group == -1 else group}", settings(group), {f"model.a.{k}": v for k, v in parts.items()},
              {"model.a.weight": auto_awq(parts, group)})


def fp8_cases():
    settings = lambda block, **more: {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                                      "weight_block_size": block, **more}
    block_parts = lambda r, o, i: {"weight": r.fp8(o, i), "weight_scale_inv": r.scales(torch.float32, o // 16, i // 16, size=0.002)}
    model_case("fp8", settings([16, 16]), block_parts, lambda p: fp8_grid(p["weight"], p["weight_scale_inv"]), torch.bfloat16, 2)
    r = Random(300)
    ragged, scale = r.fp8(129, 130), r.scales(torch.float32, 2, 2, odd=True)
    write("fp8-128-ragged", settings([128, 128]), {"model.a.weight": ragged, "model.a.weight_scale_inv": scale},
          {"model.a.weight": fp8_ragged(ragged, scale, [128, 128])})
    weight, scale = r.fp8(24, 32), r.scales(torch.bfloat16, 3, 2, odd=True)
    write("fp8-bf16-scales", settings([8, 16]), {"model.a.weight": weight, "model.a.weight_scale_inv": scale},
          {"model.a.weight": fp8_grid(weight, scale)})
    exponents = torch.from_numpy(r.rng.integers(100, 150, (3, 2), dtype=np.uint8))
    write("fp8-ue8m0", settings([8, 16], scale_fmt="ue8m0"),
          {"model.a.weight": weight, "model.a.weight_scale_inv": exponents, "model.b.weight": weight,
           "model.b.weight_scale_inv": exponents.view(torch.float8_e8m0fnu)},
          {"model.a.weight": fp8_grid(weight, exponents), "model.b.weight": fp8_grid(weight, exponents.view(torch.float8_e8m0fnu))})
    one, rows = torch.tensor(0.0123), r.scales(torch.float32, 24, 1)
    write("fp8-tensor-and-rows", {"quant_method": "fp8", "activation_scheme": "static"},
          {"model.a.weight": weight, "model.a.weight_scale": one, "model.a.input_scale": torch.tensor(0.5),
           "model.b.weight": weight, "model.b.weight_scale": rows}, 
          {"model.a.weight": fp8_ragged(weight.clone(), one, None), "model.b.weight": fp8_grid(weight, rows)})


def mxfp4_cases():
    r = Random(400)
    blocks = torch.from_numpy(r.rng.integers(0, 256, (2, 16, 8, 16), dtype=np.uint8))
    scales = torch.from_numpy(r.rng.permutation(256).astype(np.uint8)).reshape(2, 16, 8)  # every exponent, 255 among them
    write("mxfp4", {"quant_method": "mxfp4", "modules_to_not_convert": ["model.a"]},
          {"model.mlp.experts.down_proj_blocks": blocks, "model.mlp.experts.down_proj_scales": scales},
          {"model.mlp.experts.down_proj": mxfp4(blocks, scales)})


def compressed_cases():
    def settings(fmt, scheme, **more):
        return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed", "ignore": ["lm_head"],
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme, "input_activations": None}}, **more}

    def packed(r, o, i, bits, groups, zeros, dtype=torch.bfloat16, **how):
        parts = {"weight_packed": r.words(o, -(-i * bits // 32)), "weight_shape": torch.tensor([o, i]),
                 "weight_scale": r.scales(dtype, o, groups, **how)}
        if zeros:
            parts["weight_zero_point"] = r.words(-(-o * bits // 32), groups)
        return parts

    int4 = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 16, "dynamic": False}
    model_case("compressed-int4", settings("pack-quantized", int4), lambda r, o, i: packed(r, o, i, 4, i // 16, True),
               lambda p: compressed(p, int4, "pack-quantized"), torch.bfloat16, 3)
    r = Random(500)
    cases = []
    for name, scheme, parts in [
            ("int4-channel", {"num_bits": 4, "strategy": "channel"}, packed(r, 20, 60, 4, 1, False, torch.float16, odd=True)),
            ("int8-packed", {"num_bits": 8, "strategy": "group", "group_size": 32, "symmetric": False},
             packed(r, 22, 64, 8, 2, True, odd=True)),
            ("int4-tensor", {"num_bits": 4, "strategy": "tensor"}, packed(r, 16, 32, 4, 1, False))]:
        scheme = {"type": "int", "symmetric": True, "dynamic": False, **scheme}
        if scheme["strategy"] == "tensor":
            parts["weight_scale"] = torch.tensor([0.013], dtype=torch.bfloat16)
        cases.append((name, "pack-quantized", scheme, parts, False))
    ordered = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16, "actorder": "group"}
    parts = packed(r, 16, 64, 4, 4, False)
    cases.append(("int4-ordered", "pack-quantized", ordered, {**parts, "weight_g_idx": r.groups(64, 16)}, True))
    unordered = {**ordered, "actorder": "weight"}
    cases.append(("int4-no-order", "pack-quantized", unordered, {**parts, "weight_g_idx": torch.full((64,), -1, dtype=torch.int32)}, True))
    int8 = torch.from_numpy(r.rng.integers(-128, 128, (24, 32), dtype=np.int8))
    for name, fmt, scheme, parts in [
            ("int8-channel", "int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"},
             {"weight": int8, "weight_scale": r.scales(torch.bfloat16, 24, 1, odd=True)}),
            ("int8-zeros", "naive-quantized", {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": False},
             {"weight": int8, "weight_scale": r.scales(torch.float32, 24, 1),
              "weight_zero_point": torch.from_numpy(r.rng.integers(-128, 128, (24, 1), dtype=np.int8))}),
            ("fp8-tensor", "float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"},
             {"weight": r.fp8(24, 32), "weight_scale": torch.tensor([0.0123], dtype=torch.bfloat16)}),
            ("fp8-channel", "naive-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"},
             {"weight": r.fp8(24, 32), "weight_scale": r.scales(torch.float16, 24, 1)}),
            ("fp8-group", "float-quantized", {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 8},
             {"weight": r.fp8(24, 32), "weight_scale": r.scales(torch.bfloat16, 24, 4, odd=True)}),
            ("fp8-block", "float-quantized", {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 24]},
             {"weight": r.fp8(24, 32), "weight_scale": r.scales(torch.float32, 2, 2)})]:
        cases.append((name, fmt, {"symmetric": True, "dynamic": False, **scheme}, parts, False))
    for name, fmt, scheme, parts, old in cases:
        weight = compressed_by_old_version(parts, scheme) if old else compressed(parts, scheme, fmt)
        write(f"compressed-{name}", settings(fmt, scheme), {f"model.a.{k}": v for k, v in parts.items()}, {"model.a.weight": weight})
    # Two groups of their own formats, a name before a pattern before the class.
    a, b = cases[0], cases[5]
    groups = {"g0": {"targets": ["re:.*"], "weights": b[2], "format": b[1]},
              "g1": {"targets": ["model.a"], "weights": a[2], "format": a[1]}}
    write("compressed-mixed", {**settings("mixed-precision", None), "config_groups": groups},
          {**{f"model.a.{k}": v for k, v in a[3].items()}, **{f"model.b.{k}": v for k, v in b[3].items()}},
          {"model.a.weight": compressed(a[3], a[2], a[1]), "model.b.weight": compressed(b[3], b[2], b[1])})


if OUT == "--old":
    old_version(PACKAGES)
else:
    sys.path[:0] = [os.path.join(PACKAGES, name) for name in ("ct", "deps")]
    for make in (gptq_cases, awq_cases, fp8_cases, mxfp4_cases, compressed_cases):
        make()
