"""llama.cpp beside mergegauge: what the commands that compare the two share.

Its sources come in the source distribution of llama-cpp-python; built without what this CPU lacks and without a server:

    pip download --no-deps --no-binary :all: --no-build-isolation llama-cpp-python==0.3.36 && tar xf llama_cpp_python-0.3.36.tar.gz
    cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B llama-build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \\
          -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    cmake --build llama-build --target llama-quantize llama-perplexity llama-bench

The converter needs torch, transformers, sentencepiece and numpy (a throw-away venv; --python is its interpreter).
"""
import json
import os
import re
import struct
import subprocess
import sys


def add_arguments(parser):
    for name, meaning in (("mergegauge", "the program"), ("models", "folder with base, adapter and merged (tests/smollm2/make.sh)"),
                          ("llama-cpp", "its sources: .../vendor/llama.cpp"), ("llama-bin", "folder of llama-perplexity and the others"),
                          ("text", "any plain text, a few thousand words"), ("python", "interpreter that can run the converter")):
        parser.add_argument(f"--{name}", required=True, help=meaning)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def must(command):
    """Everything that the command printed."""
    return must_print(command, errors=True)


def must_print(command, errors=False):
    """What the command printed; ends the program where it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])} ... ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout + (done.stderr if errors else "")


def convert(args, folder, out, kind="f16"):
    must([args.python, os.path.join(args.llama_cpp, "convert_hf_to_gguf.py"), folder, "--outtype", kind, "--outfile", out])
    return out


def convert_adapter(args, out):
    must([args.python, os.path.join(args.llama_cpp, "convert_lora_to_gguf.py"), "--base", os.path.join(args.models, "base"),
          "--outtype", "f16", "--outfile", out, os.path.join(args.models, "adapter")])
    return out


def quantise(args, source, out, kind):
    must([os.path.join(args.llama_bin, "llama-quantize"), "--allow-requantize", source, out, kind, str(args.threads)])
    return out


def perplexity(args, model, logits, context, chunks, compare, more=()):
    """Writes the reference's logits (compare False) or compares with them."""
    command = [os.path.join(args.llama_bin, "llama-perplexity"), "-m", model, "-f", args.text, "-c", str(context), "--chunks",
               str(chunks), "-t", str(args.threads), "--kl-divergence-base", logits, *more]
    return command + ["--kl-divergence"] if compare else command


def kl_of(output):
    """(mean, standard error) of what llama-perplexity --kl-divergence printed."""
    found = re.search(r"Mean\s+KLD:\s+([-\d.e]+)\s*±\s*([-\d.e]+)", output)
    return float(found[1]), float(found[2])


def write_suite(logits, suite):
    """The windows of tokens that llama-perplexity scored, as prompts whose slice "scored" has its rows: [n_ctx / 2, n_ctx - 2].

    The file of logits: "_logits_", then n_ctx, n_vocab and the number of windows as 32-bit integers, the tokens, the logits."""
    with open(logits, "rb") as file:
        magic, context, _, windows = struct.unpack("<8siii", file.read(20))
        if magic != b"_logits_":
            sys.exit(f"{logits} holds no logits of llama-perplexity")
        tokens = struct.unpack(f"<{context * windows}i", file.read(4 * context * windows))
    with open(suite, "w") as out:
        for i in range(windows):
            out.write(json.dumps({"id": f"window-{i:03}", "input_ids": tokens[i * context:(i + 1) * context],
                                  "spans": [{"name": "scored", "begin": context // 2, "end": context - 1}]}) + "\n")
    return windows
