#!/usr/bin/env python3
"""mergegauge compare against transformers + PEFT in FP32, in one run: wall time, processor time, peak memory, as ratios.

usage: against_transformers.py --mergegauge build/release/harness/cli/mergegauge --models DIR --python VENV/bin/python
                               [--prompts 64] [--tokens 128] [--rounds 2] [--threads N]

DIR holds base, adapter and merged (tests/smollm2/make.sh writes them). Prompts are random tokens of a fixed seed. First
both must give the same mean KL, top-1 agreement and NLL; then they run in turns, and each ratio is between medians of the
rounds. Memory is sampled from outside every 20 ms: RssAnon (the process's own) and RSS (mapped files included).
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def write_suite(path, prompts, tokens, vocabulary):
    numbers = random.Random(0)
    with open(path, "w") as out:
        for i in range(prompts):
            ids = [numbers.randrange(16, vocabulary) for _ in range(tokens)]
            out.write(json.dumps({"id": f"random-{i}", "input_ids": ids}) + "\n")


def memory_of(pid):
    """(RssAnon, RSS) in bytes; zeros once the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["RssAnon"].split()[0]) * 1024, int(fields["VmRSS"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0, 0


def run(command, out_path):
    """Wall and processor seconds and peak memory of a command; its standard output goes to a file."""
    began = time.perf_counter()
    with open(out_path, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
    anonymous = resident = 0
    before = os.times()
    while process.poll() is None:
        now = memory_of(process.pid)
        anonymous, resident = max(anonymous, now[0]), max(resident, now[1])
        time.sleep(0.02)
    after = os.times()
    if process.returncode not in (0, 1, 3):  # a verdict is not a failure
        sys.exit(f"{command[0]} ended with {process.returncode}:\n{process.stderr.read().decode()[-2000:]}")
    return {"wall": time.perf_counter() - began, "anonymous": anonymous, "resident": resident,
            "cpu": after.children_user + after.children_system - before.children_user - before.children_system}


def metric(report, name):
    for comparison in report["comparisons"]:
        if comparison["subject"] == "merged" and comparison["reference"] == "adapter":
            return comparison["metrics"][name]["mean"]
    sys.exit("the report does not compare merged with adapter")


def check_agreement(report, peer):
    """The peer sums log-softmaxes in FP32: its KL is off by some 1e-6 nat."""
    limits = {"kl": ("kl", 2e-6), "js": ("js", 2e-6), "top1_agreement": ("top1", 2e-3)}
    for name, (theirs, limit) in limits.items():
        own, other = metric(report, name), peer["mean"][theirs]
        if not abs(own - other) <= limit:
            sys.exit(f"{name}: {own} here, {other} there, further apart than {limit}")
        print(f"mean {name}: {own:.4g} here, {other:.4g} there")


def main():
    parser = argparse.ArgumentParser()
    for name in ("mergegauge", "models", "python"):
        parser.add_argument(f"--{name}", required=True)
    for name, value in (("prompts", 64), ("tokens", 128), ("rounds", 2), ("threads", 0), ("batch", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    folders = {name: os.path.join(args.models, name) for name in ("base", "adapter", "merged")}
    with open(os.path.join(folders["base"], "config.json")) as config:
        vocabulary = json.load(config)["vocab_size"]

    with tempfile.TemporaryDirectory() as work:
        suite, own_out, peer_out = (os.path.join(work, name) for name in ("suite.jsonl", "own.json", "peer.json"))
        write_suite(suite, args.prompts, args.tokens, vocabulary)
        threads = ["--threads", str(args.threads)]
        own = [args.mergegauge, "compare", "--suite", suite, "--json", "-", "--no-digests"] + threads
        for name, folder in folders.items():
            own += [f"--{name}", folder]
        bare = own + ["--forced-tokens", "0", "--floor-tokens", "0"]
        peer = [args.python, os.path.join(HERE, "peer_transformers.py"), folders["base"], folders["adapter"],
                folders["merged"], suite, "--batch", str(args.batch)] + threads
        runs = {"transformers": [], "mergegauge": [], "with drift and floor": []}
        for _ in range(args.rounds):
            runs["mergegauge"].append(run(bare, own_out))
            if not runs["transformers"]:
                with open(own_out) as report:
                    own_report = json.load(report)
            runs["transformers"].append(run(peer, peer_out))
            runs["with drift and floor"].append(run(own, os.devnull))
        with open(peer_out) as result:
            check_agreement(own_report, json.load(result))

        median = {name: {key: statistics.median(r[key] for r in results) for key in results[0]}
                  for name, results in runs.items()}
        yardstick = median["transformers"]
        print(f"{args.prompts} prompts x {args.tokens} tokens, three lanes, {args.rounds} rounds, load "
              f"{os.getloadavg()[0]:.1f}")
        print(f"{'':22}{'wall s':>9}{'ratio':>7}{'cpu s':>9}{'ratio':>7}{'anon GB':>9}{'resident GB':>13}")
        for name, m in median.items():
            print(f"{name:22}{m['wall']:9.1f}{m['wall'] / yardstick['wall']:7.2f}{m['cpu']:9.1f}"
                  f"{m['cpu'] / yardstick['cpu']:7.2f}{m['anonymous'] / 1e9:9.3f}{m['resident'] / 1e9:13.3f}")
        extra = median["with drift and floor"]["cpu"] / median["mergegauge"]["cpu"]
        print(f"drift and floor at their defaults: {extra:.2f} of the time without (processor time)")


if __name__ == "__main__":
    main()
