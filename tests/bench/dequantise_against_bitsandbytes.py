#!/usr/bin/env python3
"""Dequantisation of 4- and 8-bit weights: mergegauge's dequantise_bench and bitsandbytes' CPU code.

    python3 -m venv VENV && VENV/bin/pip install torch bitsandbytes
    VENV/bin/python tests/bench/dequantise_against_bitsandbytes.py build/release/kernels/bench/dequantise_bench

One thread each, one run, in turns; the best time of each counts.  bitsandbytes' vector code needs
AVX-512 and is scalar elsewhere: its own dispatch decides.
"""
import json
import os
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
import torch  # noqa: E402
from bitsandbytes import functional as bnb  # noqa: E402

ROUNDS = 15
torch.set_num_threads(1)


def timed(action):
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def library_jobs(elements):
    weight = torch.randn(elements // 4096, 4096)
    jobs = {}
    for kind, nested in (("nf4", False), ("nf4-nested", True)):
        codes, state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=nested)
        jobs[kind] = lambda codes=codes, state=state: bnb.dequantize_4bit(codes, state)
    eight, scale, _ = bnb.int8_vectorwise_quant(weight.half())
    jobs["int8"] = lambda: eight.float() * scale.view(-1, 1) / 127
    return jobs


def main():
    program = sys.argv[1]
    elements = int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 24
    jobs = library_jobs(elements)
    theirs = {name: float("inf") for name in jobs}
    ours = {}
    for _ in range(ROUNDS):
        out = subprocess.run(
            [program, f"--elements={elements}", "--rounds=20", "--json"],
            check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            row = json.loads(line)
            if row["seconds"] < ours.get(row["name"], {"seconds": float("inf")})["seconds"]:
                ours[row["name"]] = row
        for name, job in jobs.items():
            theirs[name] = min(theirs[name], timed(job))
    copy = ours["copy"]["gb_per_s"]
    print(f"memcpy {copy:.2f} GB/s, {elements} elements, one thread")
    for name in jobs:
        rate = ours[name]["gb_per_s"]
        print(f"{name:<11} mergegauge {rate:6.2f} GB/s ({100 * rate / copy:.0f} % of memcpy), "
              f"{ours[name]['seconds'] * 1e3:7.1f} ms; bitsandbytes {theirs[name] * 1e3:7.1f} ms: "
              f"{theirs[name] / ours[name]['seconds']:.1f} times as long")


if __name__ == "__main__":
    main()
