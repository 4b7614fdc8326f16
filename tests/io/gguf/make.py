#!/usr/bin/env python3
"""Writes types.gguf (random blocks of every type that mergegauge reads, metadata of every kind) and expected.safetensors
(what the gguf package dequantises them to).  Recorded with gguf 0.19.0, numpy, safetensors; seeded.

usage: make.py OUT
"""
import os
import sys

import gguf
import numpy as np
from gguf.quants import dequantize
from safetensors.numpy import save_file

ROWS, COLUMNS = 3, 512
BLOCKS = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}  # where a block keeps FP16 numbers


def random_blocks(rng, name):
    """Every code can occur; scales are finite FP16 numbers, subnormal ones, zeros and the largest among them."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (ROWS * COLUMNS // block, size), dtype=np.uint8)
    for at in HALVES[name]:
        scales = rng.normal(0, 0.05, len(data)).astype(np.float16)
        scales[:4] = np.array([6e-8, 0, -0.0, 65504], np.float16)[: len(scales[:4])]
        data[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return kind, data.reshape(ROWS, -1)


def main():
    out = sys.argv[1]
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(os.path.join(out, "types.gguf"), "llama")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4000000000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_float32("test.f32", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "text, „quoted“")
    writer.add_uint64("test.u64", 18446744073709551615)
    writer.add_int64("test.i64", -9223372036854775808)
    writer.add_float64("test.f64", 0.1)
    writer.add_array("test.strings", ["<s>", "", "Ġthe"])
    writer.add_array("test.numbers", [1, 2, 3])
    expected = {}
    plain = rng.normal(0, 1, (ROWS, 7)).astype(np.float32)
    writer.add_tensor("F32", plain)
    expected["F32"] = plain
    half = plain.astype(np.float16)
    writer.add_tensor("F16", half)
    expected["F16"] = half.astype(np.float32)
    brain = (rng.integers(0, 0x7F00, (ROWS, 7), dtype=np.uint16))
    writer.add_tensor("BF16", brain.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    expected["BF16"] = (brain.astype(np.uint32) << 16).view(np.float32)
    for name in BLOCKS:
        kind, data = random_blocks(rng, name)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = dequantize(data, kind).astype(np.float32).reshape(ROWS, COLUMNS)
    writer.add_tensor("three", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    expected["three"] = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, os.path.join(out, "expected.safetensors"))


if __name__ == "__main__":
    main()
