#!/usr/bin/env python3
"""Writes the bases of golden cases as GGUF by llama.cpp's own converter: every number exact (F16 or BF16 as stored), without a
vocabulary, which the cases do not have. Recorded with the llama.cpp of llama-cpp-python 0.3.36's source distribution.

usage: convert.py LLAMA_CPP OUT      LLAMA_CPP: its source folder; needs torch, transformers, numpy
"""
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

LLAMA_CPP, OUT = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]

import gguf  # noqa: E402
from conversion import get_model_class  # noqa: E402
from conversion.base import ModelBase  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CASES = {"llama": "llama-embed-lora", "llama3": "llama3-rope", "qwen2": "qwen2", "gemma3": "gemma3", "phi3": "phi3-packed"}


def main():
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "base"
            shutil.copytree(GOLDEN / case / "base", folder)
            config = ModelBase.load_hparams(folder, False)
            if name == "gemma3":  # its converter cuts the embedding to the vocabulary that it reads here
                vocabulary = {f"t{i}": i for i in range(config["vocab_size"])}
                (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": [], "model": {"vocab": vocabulary}}))
            kind = get_model_class(config["architectures"][0])
            kind.set_vocab = lambda self: None
            half = (config.get("dtype") or config.get("torch_dtype")) == "float16"
            stored = gguf.LlamaFileType.MOSTLY_F16 if half else gguf.LlamaFileType.MOSTLY_BF16
            kind(folder, stored, OUT / f"{name}.gguf").write()
            print(name, os.path.getsize(OUT / f"{name}.gguf"))


if __name__ == "__main__":
    main()
