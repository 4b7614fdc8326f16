"""Times `mergegauge tokenize` beside the reference `tokenizers` library on one thread, on the same text in one run.

    python3 tests/tokenizer/reference/speed.py build/mergegauge TOKENIZER_JSON [MEGABYTES]

The text mixes prose of forty languages, code, numbers and chats (the suites), cut into pieces of 4 KB.  Of both sides the time
of an almost empty run is taken off, so that start-up and reading the file do not count; what remains of ours includes
reading and writing JSON.
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402  the variable has to be set before

SUITES = pathlib.Path(__file__).parents[3] / "suites"


def mixed_text(size):
    paragraphs = []
    for file in sorted(SUITES.glob("*/suite.jsonl")):
        for line in file.read_text(encoding="utf-8").split("\n"):
            row = json.loads(line) if line else {}
            paragraphs += [row["text"]] if row.get("text") else []
            paragraphs += [m["content"] for m in row.get("messages", []) if m.get("content")]
    paragraphs = [p for p in paragraphs if len(set(p)) > 12]  # no repetitions of one letter
    rng = random.Random(1)
    pieces, total = [], 0
    while total < size:
        piece = ""
        while len(piece.encode()) < 4096:
            piece += rng.choice(paragraphs) + "\n\n"
        pieces.append(piece)
        total += len(piece.encode())
    return pieces, total


def ours(program, file, pieces):
    lines = "".join(json.dumps({"text": piece}, ensure_ascii=False) + "\n" for piece in pieces).encode()
    begin = time.perf_counter()
    out = subprocess.run([program, "tokenize", file], input=lines, capture_output=True, check=True).stdout
    return time.perf_counter() - begin, [json.loads(line)["ids"] for line in out.decode().split("\n") if line]


def main():
    program, file = sys.argv[1:3]
    pieces, total = mixed_text(float(sys.argv[3] if len(sys.argv) > 3 else 10) * 1e6)
    reference = Tokenizer.from_file(file)
    for repeat in range(3):
        begin = time.perf_counter()
        theirs = [reference.encode(piece, add_special_tokens=False).ids for piece in pieces]
        their_time = time.perf_counter() - begin
        start, _ = ours(program, file, ["a"])
        our_time, mine = ours(program, file, pieces)
        our_time -= start
        print(f"run {repeat + 1}: {total / 1e6:.1f} MB, {sum(map(len, mine))} ids, equal: {mine == theirs}; "
              f"reference {their_time:.2f} s ({total / 1e6 / their_time:.2f} MB/s), "
              f"ours {our_time:.2f} s ({total / 1e6 / our_time:.2f} MB/s), ratio {their_time / our_time:.2f}")


if __name__ == "__main__":
    main()
