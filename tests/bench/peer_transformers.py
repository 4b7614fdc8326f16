#!/usr/bin/env python3
"""The same comparison by transformers + PEFT in FP32: what mergegauge's speed and memory are held against.

usage: peer_transformers.py BASE ADAPTER MERGED SUITE.jsonl [--batch N] [--threads N]

Runs base, base + adapter and merged over every prompt and computes, for adapter against merged and per token: KL both
ways, JS, total variation, largest and RMS logit error, cosine, top-1 and top-10 agreement, NLL. Prints one JSON object.
Prompts of a batch must have one length. Needs torch, transformers, peft (in a virtual environment; nothing else does).
"""
import argparse
import json
import time


def anonymous_bytes():
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0]) * 1024


def main():
    parser = argparse.ArgumentParser()
    for name in ("base", "adapter", "merged", "suite"):
        parser.add_argument(name)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()

    started = time.perf_counter()
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_grad_enabled(False)
    if args.threads:
        torch.set_num_threads(args.threads)

    def load(folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    reference = PeftModel.from_pretrained(load(args.base), args.adapter).eval()
    merged = load(args.merged)
    loaded = time.perf_counter()

    with open(args.suite) as lines:
        prompts = [json.loads(line)["input_ids"] for line in lines]
    sums = {}
    rows = 0
    peak = anonymous_bytes()

    def add(name, values):
        sums[name] = sums.get(name, 0.0) + values.double().sum().item()

    def js(log_p, log_q):
        log_m = torch.logsumexp(torch.stack([log_p, log_q]), 0) - 0.6931471805599453
        return 0.5 * ((log_p.exp() * (log_p - log_m)).sum(-1) + (log_q.exp() * (log_q - log_m)).sum(-1))

    for begin in range(0, len(prompts), args.batch):
        ids = torch.tensor(prompts[begin:begin + args.batch])
        with reference.disable_adapter():
            base_logits = reference(ids).logits
        adapter_logits = reference(ids).logits
        merged_logits = merged(ids).logits
        for i in range(ids.shape[0]):
            z, y, b = adapter_logits[i], merged_logits[i], base_logits[i]
            log_p, log_q, log_b = (t.log_softmax(-1) for t in (z, y, b))
            p, q = log_p.exp(), log_q.exp()
            add("kl", (p * (log_p - log_q)).sum(-1))
            add("reverse_kl", (q * (log_q - log_p)).sum(-1))
            add("kl_base", (p * (log_p - log_b)).sum(-1))
            add("js", js(log_p, log_q))
            add("tv", 0.5 * (p - q).abs().sum(-1))
            add("max_abs", (z - y).abs().amax(-1))
            add("rms", (z - y).square().mean(-1).sqrt())
            add("cosine", torch.nn.functional.cosine_similarity(z, y, dim=-1))
            top_z, top_y = z.topk(10).indices, y.topk(10).indices
            add("top1", (top_z[:, 0] == top_y[:, 0]).float())
            add("top10", (top_z.unsqueeze(2) == top_y.unsqueeze(1)).any(2).float().mean(-1))
            following = ids[i, 1:].unsqueeze(1)
            add("nll_reference", -log_p[:-1].gather(1, following))
            add("nll_subject", -log_q[:-1].gather(1, following))
            rows += ids.shape[1]
        peak = max(peak, anonymous_bytes())
    finished = time.perf_counter()
    scored = rows - len(prompts)
    print(json.dumps({
        "rows": rows,
        "mean": {name: total / (scored if name.startswith("nll") else rows) for name, total in sums.items()},
        "load_seconds": loaded - started,
        "compare_seconds": finished - loaded,
        "anonymous_bytes_between_batches": peak,
        "versions": {"torch": torch.__version__},
    }))


if __name__ == "__main__":
    main()
