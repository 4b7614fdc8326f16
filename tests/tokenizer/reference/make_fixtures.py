"""Trains tiny tokenizers with the reference library and records what it does with some texts.

Run by hand, in an environment with the tokenizers package, from the repository's root:

    python3 tests/tokenizer/reference/make_fixtures.py tests/tokenizer/fixtures

Each fixture is NAME.json (a tokenizer.json) and NAME.jsonl ({"text", "ids", "with_special", "decoded", "skipped"}).
The training text is this file and the sentences below.
"""
import json
import pathlib
import random
import sys

import fuzz
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

SENTENCES = """The merged model gives the same answers as the base with its adapter, and the gauge shows by how much.
Don't trust a merge you haven't measured; it's easy to be wrong by a scale of 2.0 or 0.5.
Das verschmolzene Modell antwortet wie vorher. Größe, Straße, Äpfel und Öl. Le modèle fusionné répond pareil, ça va.
Модель отвечает так же, как прежде. Η απάντηση είναι ίδια. النموذج يجيب كما كان. המודל עונה כמו קודם.
合并后的模型回答相同。結合したモデルは同じ答えを返します。병합된 모델은 같은 답을 합니다。
for i in range(10):\n    print(f"{i:>3} {values[i]}")\n    if (x == 0) and not done:\n        return None
1234567890 3.14159 2024-07-26 0xFF 1,000,000 \u00bd \u2167 \u0664\u0662
"""
QWEN2_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
O200K_SPLIT = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
               r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
               r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def corpus():
    return (SENTENCES.splitlines(keepends=True) + pathlib.Path(__file__).read_text(encoding="utf-8").splitlines(True)) * 2


def train(tokenizer, size, special, byte_level=True):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet,
                                  show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def qwen2_like():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    train(t, 900, [])
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    return t


def llama3_like():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(O200K_SPLIT), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    train(t, 800, [])
    t.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    begin = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
        special_tokens=[("<|begin_of_text|>", begin)])])
    return t


def byte_fallback(normalizer, pre_tokenizer, decoder):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer, t.pre_tokenizer = normalizer, pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    train(t, 700, special, byte_level=False)
    # The trainer takes byte tokens for special ones; the model must keep them as plain vocabulary.
    data = json.loads(t.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    known = {"<unk>", "<s>", "</s>"} | set(special)
    # Rare characters go, so that fallback is used.
    keep = {k: v for k, v in data["model"]["vocab"].items() if len(k) > 1 or k in known or ord(k) < 0x250 or k == "\u2581"}
    merges = [m for m in data["model"]["merges"] if m[0] in keep and m[1] in keep]
    keep = {k: i for i, k in enumerate(keep)}
    merges = [m for m in merges if "".join(m) in keep]
    data["model"]["vocab"], data["model"]["merges"] = keep, merges
    t = Tokenizer.from_str(json.dumps(data))
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoder
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                     special_tokens=[("<s>", 1)])
    return t


def llama2_like():
    return byte_fallback(
        normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None,
        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                           decoders.Strip(" ", 1, 0)]))


def mistral_like():
    return byte_fallback(None, pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False),
                         decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                            decoders.Strip(" ", 1, 0)]))


def gemma_like():
    return byte_fallback(normalizers.Replace(" ", "\u2581"), pre_tokenizers.Split(" ", "merged_with_previous"),
                         decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]))


def odd():
    """Every other component at once, and added tokens of every kind."""
    t = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " ")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"),
                                               pre_tokenizers.Digits(individual_digits=True)])
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["[UNK]"], continuing_subword_prefix="##",
                                  end_of_word_suffix="</w>", show_progress=False)
    t.train_from_iterator(corpus(), trainer)
    t.add_tokens([AddedToken("left", lstrip=True, normalized=False), AddedToken("right", rstrip=True, normalized=False),
                  AddedToken("word", single_word=True, normalized=False), AddedToken("\ufb01x", normalized=True),
                  AddedToken("  ", normalized=False)])
    t.add_special_tokens([AddedToken("[SEP]", lstrip=True, rstrip=True)])
    return t


def kinds(behavior):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\d{1,2}|-"), behavior), pre_tokenizers.Split(" ", "removed"),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    return train(t, 400, [])


def texts(tokenizer, seed):
    rng = random.Random(seed)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    out = ["", " ", "  a  b ", "Hello, world!", "a" * 70, "ab" * 40 + " " * 70, "left  right  word swordx word.", "x left", "right  y",
           "a [SEP] b[SEP]", "\ufb01x fix", "1-2--3 45678", "<s>hi</s>", "\u2581a \u2581", "e\u0301 \u00e9 \u1e9b\u0323", "\U0001F600\u0000\u007f"]
    out += SENTENCES.splitlines()
    out += [fuzz.random_text(rng, added) for _ in range(120)]
    return out


def main():
    folder = pathlib.Path(sys.argv[1])
    fixtures = {"qwen2_like": qwen2_like(), "llama3_like": llama3_like(), "llama2_like": llama2_like(),
                "mistral_like": mistral_like(), "gemma_like": gemma_like(), "odd": odd(),
                "merged_with_previous": kinds("merged_with_previous"), "merged_with_next": kinds("merged_with_next"),
                "contiguous": kinds("contiguous")}
    for seed, (name, tokenizer) in enumerate(fixtures.items()):
        data = json.loads(tokenizer.to_str())
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]] if seed % 2 else data["model"]["merges"]
        (folder / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(folder / f"{name}.json"))
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as out:
            for text in texts(tokenizer, seed):
                ids = tokenizer.encode(text, add_special_tokens=False).ids
                special = tokenizer.encode(text).ids
                out.write(json.dumps({"text": text, "ids": ids, "with_special": special,
                                      "decoded": tokenizer.decode(special, skip_special_tokens=False),
                                      "skipped": tokenizer.decode(special)}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
