#!/usr/bin/env python3
"""KL of quantised files by `mergegauge compare --also` against llama.cpp's own, on the same windows of tokens and the same rows.

usage: served_against_llama_cpp.py --mergegauge build/release/mergegauge --models DIR --llama-cpp SOURCES --llama-bin BIN
                                   --python VENV/bin/python --text FILE [--context 128] [--chunks 32] [--work FOLDER]

How to build llama.cpp: llama_cpp.py beside this file. merged becomes F16, that Q8_0 and Q4_1 (llama-quantize); mean
KL(F16 || file) then comes from llama-perplexity --kl-divergence and from mergegauge. What the two do differently:

  - llama.cpp multiplies matrices of 8-bit and 4-bit codes with activations that it rounds to 8 bits first, and F16 matrices with
    activations in F16; mergegauge keeps activations in FP32, so that only the weights differ;
  - llama.cpp keeps the reference's log-probabilities in 16 bits, and leaves out what lies more than 16 nat below the best.

To tell them apart, the same codes are written out as F32 (llama-quantize), where llama.cpp rounds no activation, and each
reference is held against itself, which shows what the 16 bits make of equal logits.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import llama_cpp

KINDS = ("Q8_0", "Q4_1")


def theirs(args, reference, files, folder):
    """KL (mean, standard error) of each file against the reference, which is one of them; the logits' file."""
    logits = os.path.join(folder, os.path.basename(reference) + ".kld")
    llama_cpp.must(llama_cpp.perplexity(args, reference, logits, args.context, args.chunks, False))
    return [llama_cpp.kl_of(llama_cpp.must(llama_cpp.perplexity(args, file, logits, args.context, args.chunks, True)))
            for file in files], logits


def ours(args, suite, files, folder):
    report = os.path.join(folder, "report.json")
    command = [args.mergegauge, "compare", "--suite", suite, "--no-digests", "--json", report, "--forced-tokens", "0",
               "--floor-tokens", "0", "--threads", str(args.threads)]
    for name in ("base", "adapter", "merged"):
        command += [f"--{name}", os.path.join(args.models, name)]
    for file in files:
        command += ["--also", file]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1, 3):  # a verdict is not a failure
        sys.exit(done.stderr)
    with open(report) as file:
        pairs = {c["subject"]: c for c in json.load(file)["comparisons"] if c["reference"] == "merged"}
    found = []
    for file in files:
        pair = pairs[os.path.splitext(os.path.basename(file))[0]]
        found.append(next(s for s in pair["slices"] if s["name"] == "scored")["metrics"]["kl"]["mean"])
    return found


def main():
    parser = argparse.ArgumentParser()
    llama_cpp.add_arguments(parser)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--work", help="an empty folder of 3 GB, kept; default: one that is deleted")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or scratch
        path = lambda name: os.path.join(folder, name + ".gguf")
        merged = os.path.join(args.models, "merged")
        half, full = (llama_cpp.convert(args, merged, path(kind.upper()), kind) for kind in ("f16", "f32"))
        codes = [llama_cpp.quantise(args, half, path(kind), kind) for kind in KINDS]
        decoded = [llama_cpp.quantise(args, file, path(f"{kind}-as-F32"), "F32") for kind, file in zip(KINDS, codes)]

        served, logits = theirs(args, half, [half, *codes], folder)
        exact, _ = theirs(args, full, [full, half, *decoded], folder)
        suite = os.path.join(folder, "windows.jsonl")
        windows = llama_cpp.write_suite(logits, suite)
        own = ours(args, suite, [half, *codes], folder)

        rows = windows * (args.context - 1 - args.context // 2)
        print(f"{windows} windows of {args.context} tokens, {rows} rows scored; KL in nat, mean and 1.96 standard errors")
        print(f"llama.cpp, a reference against itself: F16 {served[0][0]:.6f}, F32 {exact[0][0]:.6f}; "
              f"F32 against F16: {exact[1][0]:.6f}")
        print(f"mergegauge, merged against F16: {own[0]}")
        for i, kind in enumerate(KINDS):
            for label, (mean, error) in (("as served", served[1 + i]), ("codes as F32", exact[2 + i])):
                inside = abs(own[1 + i] - mean) <= 1.96 * error
                print(f"{kind:5} llama.cpp, {label:13} {mean:.6f} ± {1.96 * error:.6f}   mergegauge {own[1 + i]:.6f}   "
                      f"{'within' if inside else 'OUTSIDE'}, ratio {own[1 + i] / mean:.4f}")


if __name__ == "__main__":
    main()
