"""The merge of every golden case in double precision by NumPy, rounded once: writes merge_digests.json.

    python tests/audit/make_merge_digests.py > tests/audit/merge_digests.json

Run by hand in a virtual environment with numpy; the tests need neither it nor Python.  Computes W + s*B*A (DoRA:
m * (W + s*B*A) / |W + s*B*A|) from the stored tensors, rounds each element once to the base's dtype (NumPy's own
float64 -> float16; for BF16 the integer rounding below) and lists the SHA-256 of each tensor's bytes.
"""
import hashlib
import json
import math
import pathlib
import re
import struct

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
QUANTISED = {"qwen2-nf4", "qwen2-fp4", "qwen2-int8", "tokenizer"}


def read(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, record in header.items():
        if name == "__metadata__":
            continue
        begin, end = record["data_offsets"]
        data = raw[8 + length + begin : 8 + length + end]
        tensors[name] = (record["dtype"], record["shape"], data)
    return tensors


def wide(tensor):
    dtype, shape, data = tensor
    if dtype == "BF16":
        bits = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64).reshape(shape)
    kind = {"F16": np.float16, "F32": np.float32}[dtype]
    return np.frombuffer(data, kind).astype(np.float64).reshape(shape)


def narrow(values, dtype):
    if dtype == "F16":
        return values.astype(np.float16).tobytes()
    if dtype == "F32":
        return values.astype(np.float32).tobytes()
    # BF16: nearest even on 8 significant bits, in units of the last place (exact in double).
    _, exponent = np.frexp(values)
    unit = np.ldexp(1.0, np.maximum(exponent - 8, -133))
    rounded = (np.rint(values / unit) * unit).astype(np.float32)
    return (rounded.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def pattern(table, module, fallback):
    for key, value in (table or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return fallback


def canonical(name):
    name = name.removeprefix("base_model.model.")
    # qwen2-vl: the adapter uses the newer names of the same modules.
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def merged_tensors(case):
    base = read(case / "base" / "model.safetensors")
    adapter = {canonical(n): t for n, t in read(case / "adapter" / "adapter_model.safetensors").items()}
    config = json.loads((case / "adapter" / "adapter_config.json").read_text())
    result = {}
    for name, (dtype, shape, data) in base.items():
        module = canonical(name).removesuffix(".weight")
        linear = (adapter.get(module + ".lora_A.weight"), adapter.get(module + ".lora_B.weight"))
        embedding = (adapter.get(module + ".lora_embedding_A"), adapter.get(module + ".lora_embedding_B"))
        if linear[0] is None and embedding[0] is None:
            # modules_to_save: the adapter's tensor in place of the base's.
            replaced = adapter.get(canonical(name))
            result[name] = data if replaced is None else narrow(wide(replaced), dtype)
            continue
        a, b = (wide(t) for t in (linear if linear[0] is not None else embedding))
        rank = pattern(config.get("rank_pattern"), module, config["r"])
        alpha = pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
        assert a.shape[0] == rank
        scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        delta = scale * (b @ a)
        weight = wide((dtype, shape, data))
        if delta.shape != weight.shape or linear[0] is None or "gpt2" in case.name:
            delta = delta.T
        updated = weight + delta
        magnitude = adapter.get(module + ".lora_magnitude_vector")
        if magnitude is not None:
            norm = np.sqrt((updated * updated).sum(axis=1, keepdims=True))
            updated = wide(magnitude).reshape(-1, 1) / norm * updated
        result[name] = narrow(updated, dtype)
    return result


digests = {}
for folder in sorted(GOLDEN.iterdir()):
    if folder.is_dir() and folder.name not in QUANTISED:
        digests[folder.name] = {n: hashlib.sha256(d).hexdigest() for n, d in sorted(merged_tensors(folder).items())}
print(json.dumps(digests, indent=1))
