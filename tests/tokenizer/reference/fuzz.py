"""Compares `mergegauge tokenize` with the reference `tokenizers` library on random texts.

Run by hand, in an environment with the tokenizers package:

    python3 tests/tokenizer/reference/fuzz.py build/mergegauge TOKENIZER_JSON [COUNT] [SEED]

Texts mix scripts, white space, digits, contractions, code, emoji, combining marks, added tokens and arbitrary code
points.  Every text is encoded with and without special tokens and decoded; differences are printed, those on code
points that were assigned after Unicode 14 counted apart.
"""
import json
import random
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer

BLOCKS = [(0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
          (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
          (0x2000, 0x206F), (0x2070, 0x218F), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xADFF), (0xF900, 0xFAFF),
          (0xFE00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x20000, 0x200FF), (0x0, 0x1F), (0x80, 0x9F)]
WORDS = ["the", "don't", "I'LL", "we've", "IT'S", "you'\u017f", " ", "  ", "\n", "\r\n", "\n\n", "\t", "\u00a0", "\u3000",
         "\u180e", "\u200b", "1234567", "3.14", "0x1F", "\u0665\u0666", "\u2167", "a\u0301", "e\u0301\u0323", "\u1112\u1161\u11ab",
         "\ufb01", "\u212b", "\u1e9b\u0323", "def f(x):", "    ", "=>", "...", "\u2014", "\u4f60\u597d", "\u0434\u0430", "\u0645\u0631",
         "\U0001F468\u200d\U0001F469\u200d\U0001F467", "</s>", "<0x41>", "\u2581", "\u0120", "_", "\u00df", "\u0130"]


def random_text(rng, added):
    kind = rng.random()
    parts = []
    for _ in range(rng.randint(0, 12) if kind < 0.9 else rng.randint(20, 80)):
        what = rng.random()
        if what < 0.35:
            parts.append(rng.choice(WORDS))
        elif what < 0.42 and added:
            parts.append(rng.choice(added))
        elif what < 0.9:
            low, high = rng.choice(BLOCKS)
            parts.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8))))
        else:
            c = rng.randint(0, 0x10FFFF)
            parts.append(" " if 0xD800 <= c < 0xE000 else chr(c))
        if rng.random() < 0.3:
            parts.append(" " * rng.randint(1, 3))
    return "".join(parts)


def run(program, arguments, lines):
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    done = subprocess.run([program, "tokenize", *arguments], input=text.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr.decode())
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def main():
    program, file = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    reference = Tokenizer.from_file(file)
    reference.no_truncation()
    reference.no_padding()
    added = [token.content for token in reference.get_added_tokens_decoder().values()]
    texts = [random_text(rng, added) for _ in range(count)]
    ours = run(program, [file], [{"text": text, "special": i % 2 == 1} for i, text in enumerate(texts)])
    decoded = run(program, [file, "--decode"], [{"ids": row["ids"]} for row in ours])
    newer = differences = ids = 0
    for i, (text, row, back) in enumerate(zip(texts, ours, decoded)):
        expected = reference.encode(text, add_special_tokens=i % 2 == 1).ids
        ids += len(expected)
        same = row["ids"] == expected and back["text"] == reference.decode(expected, skip_special_tokens=False)
        if same:
            continue
        if any(unicodedata.category(c) == "Cn" for c in text):  # Python 3.11 knows Unicode 14, as PCRE2 10.42
            newer += 1
        else:
            differences += 1
        if differences + newer <= 10:
            print("differs:", ascii(text), "\n  reference", expected, "\n  ours     ", row["ids"])
    print(f"{count} texts, {ids} ids: {differences} differences, and {newer} with newer code points")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
