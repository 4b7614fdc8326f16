#!/usr/bin/env python3
"""mergegauge against llama.cpp on one CPU, in turns: the comparison of three lanes, and the speed of merged in F16.

usage: against_llama_cpp.py --mergegauge build/release/mergegauge --models DIR --llama-cpp SOURCES --llama-bin BIN
                            --python VENV/bin/python --text FILE [--prompts 64] [--tokens 128] [--rounds 1]
                            [--only compare|bench] [--bench-rounds 3] [--threads N]

How to build llama.cpp: llama_cpp.py beside this file. "compare": llama-perplexity --kl-divergence runs once for each lane (base
with the adapter writes the reference's logits, then merged and base are held against them) and scores the second half of each
window; `mergegauge compare` runs the same windows of tokens once, scores every token, and computes more. The KL of base, which is
large, must agree first. "bench": llama-bench (pp512, pp128, tg64) and `mergegauge bench` (prefill 512 and 128; decoding 64 tokens
behind 32 in the cache, one prompt) by turns; ratios are between medians of the rounds.
"""
import argparse
import json
import os
import statistics
import sys
import tempfile

import llama_cpp
from against_transformers import run


WITHOUT = ["--forced-tokens", "0", "--floor-tokens", "0"]  # what llama-perplexity does not compute either


def compare(args, folder):
    models = {name: llama_cpp.convert(args, os.path.join(args.models, name), os.path.join(folder, name + ".gguf"))
              for name in ("base", "merged")}
    adapter = llama_cpp.convert_adapter(args, os.path.join(folder, "adapter.gguf"))
    logits, out, suite, report = (os.path.join(folder, name) for name in ("logits", "out.txt", "suite.jsonl", "report.json"))
    lane = lambda model, again, more=(): llama_cpp.perplexity(args, model, logits, args.tokens, args.prompts, again, more)
    runs = {"llama.cpp": [], "mergegauge": [], "with drift and floor": []}
    for turn in range(args.rounds):
        three = [run(lane(models["base"], False, ["--lora", adapter]), out)]
        kl = {}
        for name in ("merged", "base"):
            three.append(run(lane(models[name], True), out))
            with open(out) as printed:
                kl[name] = llama_cpp.kl_of(printed.read())
        runs["llama.cpp"].append({"wall": sum(r["wall"] for r in three), "cpu": sum(r["cpu"] for r in three),
                                  "anonymous": max(r["anonymous"] for r in three), "resident": max(r["resident"] for r in three)})
        if turn == 0:
            llama_cpp.write_suite(logits, suite)
        if turn == 0:
            agree({name: own_kl(args, suite, name, report) for name in kl}, kl)
        own = own_command(args, suite, "merged", report)
        runs["mergegauge"].append(run(own + WITHOUT, os.devnull))
        runs["with drift and floor"].append(run(own, os.devnull))
    median = {name: {key: statistics.median(r[key] for r in results) for key in results[0]} for name, results in runs.items()}
    yardstick = median["llama.cpp"]
    print(f"{args.prompts} windows x {args.tokens} tokens, three lanes, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':22}{'wall s':>9}{'ratio':>7}{'cpu s':>9}{'ratio':>7}{'anon GB':>9}{'resident GB':>13}")
    for name, m in median.items():
        print(f"{name:22}{m['wall']:9.1f}{m['wall'] / yardstick['wall']:7.2f}{m['cpu']:9.1f}{m['cpu'] / yardstick['cpu']:7.2f}"
              f"{m['anonymous'] / 1e9:9.3f}{m['resident'] / 1e9:13.3f}")
    print(f"logits on disk for llama.cpp: {os.path.getsize(logits) / 1e6:.0f} MB")


def own_command(args, suite, subject, report):
    """`subject` (merged or base) held against base + adapter."""
    models = [f"--{name}={os.path.join(args.models, folder)}" for name, folder in
              (("base", "base"), ("adapter", "adapter"), ("merged", subject))]
    return [args.mergegauge, "compare", *models, "--suite", suite, "--json", report, "--no-digests", "--threads", str(args.threads)]


def own_kl(args, suite, subject, report):
    """Mean KL(adapter || subject) of the rows that llama.cpp scores too."""
    run(own_command(args, suite, subject, report) + WITHOUT, os.devnull)
    with open(report) as file:
        pair = next(c for c in json.load(file)["comparisons"] if c["reference"] == "adapter")
    return next(s for s in pair["slices"] if s["name"] == "scored")["metrics"]["kl"]["mean"]


def agree(own, theirs):
    """merged's KL is below what llama.cpp's arithmetic and 16 bits resolve; base's must be the same."""
    for name, (mean, error) in theirs.items():
        print(f"mean KL(adapter || {name}) of the scored rows: {own[name]:.6g} here, {mean:.6g} ± {1.96 * error:.2g} there")
    if not abs(own["base"] - theirs["base"][0]) <= 0.02 * own["base"]:
        sys.exit("the two do not compute the same: nothing else is reported")


def bench(args, folder):
    model = llama_cpp.convert(args, os.path.join(args.models, "merged"), os.path.join(folder, "merged-f16.gguf"))
    theirs = {"pp512": [], "pp128": [], "tg64": []}
    ours = {name: [] for name in theirs}
    report = os.path.join(folder, "bench.json")
    for _ in range(args.bench_rounds):
        rows = json.loads(llama_cpp.must_print([os.path.join(args.llama_bin, "llama-bench"), "-m", model, "-p", "512,128", "-n", "64",
                                                "-t", str(args.threads), "-r", "1", "-o", "json"]))
        for row in rows:
            theirs[f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"].append(row["avg_ts"])
        run([args.mergegauge, "bench", "--base", os.path.join(args.models, "merged"), "--prefill", "512", "128", "--decode", "1",
             "--contexts", "32", "--decode-steps", "64", "--rounds", "2", "--threads", str(args.threads), "--json", report], os.devnull)
        with open(report) as file:
            for rate in json.load(file)["bench"]["rates"]:
                ours[f"pp{rate['length']}" if rate["phase"] == "prefill" else "tg64"].append(rate["tokens_per_s"])
    print(f"merged in F16, {args.threads} threads, {args.bench_rounds} rounds by turns, load {os.getloadavg()[0]:.1f}")
    print(f"{'':8}{'llama.cpp tok/s':>17}{'mergegauge tok/s':>18}{'ratio':>7}   each round's")
    for name, rates in theirs.items():
        each = ", ".join(f"{own / other:.2f}" for own, other in zip(ours[name], rates))
        own, other = statistics.median(ours[name]), statistics.median(rates)
        print(f"{name:8}{other:17.1f}{own:18.1f}{own / other:7.2f}   {each}")


def main():
    parser = argparse.ArgumentParser()
    llama_cpp.add_arguments(parser)
    for name, value in (("prompts", 64), ("tokens", 128), ("rounds", 1), ("bench-rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=("compare", "bench"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "bench":
            compare(args, folder)
        if args.only != "compare":
            bench(args, folder)


if __name__ == "__main__":
    main()
