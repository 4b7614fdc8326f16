#!/usr/bin/env python3
"""Writes the adapters of golden cases as GGUF by llama.cpp's own converter, every number exact (F16 or BF16 as stored). Recorded
with the llama.cpp of llama-cpp-python 0.3.36's source distribution.

usage: convert_adapters.py LLAMA_CPP OUT      LLAMA_CPP: its source folder; needs torch, transformers, numpy
"""
import subprocess
import sys
from pathlib import Path

LLAMA_CPP, OUT = Path(sys.argv[1]), Path(sys.argv[2])
GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CASES = {"llama-embed-lora": "f16", "gemma2": "bf16", "phi3-packed": "f16"}

for case, stored in CASES.items():
    subprocess.run([sys.executable, LLAMA_CPP / "convert_lora_to_gguf.py", "--base", GOLDEN / case / "base", "--outtype", stored,
                    "--outfile", OUT / f"{case}.gguf", GOLDEN / case / "adapter"], check=True, capture_output=True)
    print(case, (OUT / f"{case}.gguf").stat().st_size)
