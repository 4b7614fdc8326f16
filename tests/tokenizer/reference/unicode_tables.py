"""Writes harness/io/tokenizer/unicode_tables.cc from the behaviour of the reference `tokenizers` library.

Run by hand, in an environment with the tokenizers package, on the system whose PCRE2 and utf8proc the build uses:

    python3 tests/tokenizer/reference/unicode_tables.py > harness/io/tokenizer/unicode_tables.cc

The reference uses four Unicode tables (its regular expressions, Rust's char methods, a punctuation crate, a
normalisation crate), none of the same version as PCRE2's or utf8proc's.  Everything is found out by asking: the
reference through its pre-tokenizers and normalisers, PCRE2 and utf8proc through ctypes.
"""
import bisect
import ctypes
import ctypes.util
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERYTHING = "".join(map(chr, CODE_POINTS))
CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cn Co").split()
SCRIPTS = "Han Hiragana Katakana Hangul Thai Arabic Latin Cyrillic Greek Hebrew Devanagari".split()


def kept(pre_tokenizer):
    """Code points of EVERYTHING that `pre_tokenizer` leaves in its pieces."""
    out = set()
    for _, (begin, end) in pre_tokenizer.pre_tokenize_str(EVERYTHING):
        out.update(CODE_POINTS[begin:end])
    return out


def reference_class(expression):
    return kept(pre_tokenizers.Split(Regex(f"[^{expression}]+"), "removed"))


class Pcre2:
    UTF, UCP, NO_UTF_CHECK = 0x00080000, 0x00020000, 0x40000000

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("pcre2-8"))
        for name in ("pcre2_compile_8", "pcre2_match_data_create_8"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
        self.subject = EVERYTHING.encode()
        self.begin = {}
        at = 0
        for c in CODE_POINTS:
            self.begin[at] = c
            at += len(chr(c).encode())

    def matches(self, expression):
        pattern = expression.encode()
        error, offset = ctypes.c_int(), ctypes.c_size_t()
        code = self.lib.pcre2_compile_8(pattern, ctypes.c_size_t(len(pattern)),
                                        ctypes.c_uint32(self.UTF | self.UCP), ctypes.byref(error),
                                        ctypes.byref(offset), None)
        assert code, expression
        data = self.lib.pcre2_match_data_create_8(ctypes.c_uint32(2), None)
        vector = self.lib.pcre2_get_ovector_pointer_8(ctypes.c_void_p(data))
        out, at = set(), 0
        while self.lib.pcre2_match_8(ctypes.c_void_p(code), self.subject,
                                     ctypes.c_size_t(len(self.subject)), ctypes.c_size_t(at),
                                     ctypes.c_uint32(self.NO_UTF_CHECK), ctypes.c_void_p(data), None) > 0:
            at = vector[1]
            out.add(self.begin[vector[0]])
        return out


def category_table(members):
    return {c: category for category in CATEGORIES for c in members(category)}


def ranges(pairs):
    out = []
    for c, value in pairs:
        if out and out[-1][1] + 1 == c and out[-1][2] == value:
            out[-1][1] = c
        else:
            out.append([c, c, value])
    return out


def substitutions():
    """Code points that PCRE2 sorts into other classes than the reference, with one that PCRE2 sorts as the reference
    sorts them and that is equally long in UTF-8."""
    pcre2 = Pcre2()
    ours = category_table(lambda k: pcre2.matches(rf"\p{{{k}}}"))
    theirs = category_table(lambda k: reference_class(rf"\p{{{k}}}"))
    our_scripts = {s: pcre2.matches(rf"\p{{sc:{s}}}") for s in SCRIPTS}
    their_scripts = {s: reference_class(rf"\p{{{s}}}") for s in SCRIPTS}
    our_word = pcre2.matches(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]")
    their_word = reference_class(r"\w")
    our_space, their_space = pcre2.matches(r"\s"), reference_class(r"\s")

    def key(c, categories, scripts, word, space):
        script = next((s for s in SCRIPTS if c in scripts[s]), "")
        return len(chr(c).encode()), categories[c], script, c in word, c in space

    our_key = {c: key(c, ours, our_scripts, our_word, our_space) for c in CODE_POINTS}
    their_key = {c: key(c, theirs, their_scripts, their_word, their_space) for c in CODE_POINTS}
    # The nearest one: expressions that spell out a range of characters (the CJK blocks, mostly) then rarely tell the two
    # apart.
    examples = {}
    for c in CODE_POINTS:
        if our_key[c] == their_key[c]:
            examples.setdefault(our_key[c], []).append(c)

    def nearest(wanted, c):
        known = examples[wanted]
        at = bisect.bisect(known, c)
        return min(known[max(at - 1, 0):at + 1], key=lambda k: abs(k - c))

    pairs = []
    for c in CODE_POINTS:
        if our_key[c] != their_key[c]:
            wanted = their_key[c]
            if wanted not in examples:
                wanted = (wanted[0], wanted[1], "", wanted[3], wanted[4])
            pairs.append((c, nearest(wanted, c)))
    return ranges(pairs)


def normaliser_strangers():
    """Code points the reference's normaliser passes through as unknown although utf8proc knows something of them."""
    lib = ctypes.CDLL(ctypes.util.find_library("utf8proc"))
    lib.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_uint16)
    libc = ctypes.CDLL(None)
    stable, compat, compose, decompose = 2, 4, 8, 16
    lib.utf8proc_map.restype = ctypes.c_ssize_t

    def our_form(text, options):
        raw, out = text.encode(), ctypes.c_void_p()
        length = lib.utf8proc_map(raw, ctypes.c_ssize_t(len(raw)), ctypes.byref(out), ctypes.c_int(stable | options))
        assert length >= 0
        result = ctypes.string_at(out, length).decode()
        libc.free(out)
        return result

    points = [c for c in CODE_POINTS if c not in (0, 10)]
    strangers, second_parts = set(), set()
    for form, options in ((normalizers.NFC(), compose), (normalizers.NFD(), decompose),
                          (normalizers.NFKC(), compose | compat), (normalizers.NFKD(), decompose | compat)):
        theirs = form.normalize_str("\n".join(map(chr, points))).split("\n")
        ours = our_form("\n".join(map(chr, points)), options).split("\n")
        assert len(theirs) == len(points) == len(ours)
        for c, their, our in zip(points, theirs, ours):
            if their != our:
                assert their == chr(c), hex(c)  # only newer characters differ
                strangers.add(c)
                if not options & compat and options & decompose and len(our) == 2:
                    second_parts.add(ord(our[1]))
    # Combining classes: does a mark of class 240 (1) before (behind) the character change places with it?
    low, high = "\u0345", "\u0334"
    nfd = normalizers.NFD().normalize_str
    for before, after in ((low, ""), ("", high)):
        texts = ["a" + before + chr(c) + after for c in points]
        theirs = nfd("\n".join(texts)).split("\n")
        ours = our_form("\n".join(texts), decompose).split("\n")
        for c, text, their, our in zip(points, texts, theirs, ours):
            if their != our and c not in strangers:
                assert their == text, hex(c)
                strangers.add(c)
    return ranges((c, 0) for c in sorted(strangers | second_parts))


def numeric():
    out = set()
    digits = pre_tokenizers.Digits(individual_digits=False)
    # Between letters every character stands alone, so that a piece is numeric or not as a whole.
    text = "".join("a" + chr(c) for c in CODE_POINTS)
    for _, (begin, end) in digits.pre_tokenize_str(text):
        if end - begin == 1 and begin % 2 == 1:
            out.add(CODE_POINTS[begin // 2])
    return out


def word():
    """Characters that the Whitespace pre-tokenizer (Rust's \\w) joins to a letter."""
    text = " ".join("a" + chr(c) for c in CODE_POINTS)
    starts = {}
    for _, (begin, end) in pre_tokenizers.Whitespace().pre_tokenize_str(text):
        starts[begin] = end
    return {c for i, c in enumerate(CODE_POINTS) if starts[3 * i] == 3 * i + 2}


def print_array(comment, declaration, rows):
    print(f"// {comment}\n{declaration} = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 99:
            print(line)
            line = "   "
        line += f" {row},"
    print(line + "\n};\n")


def print_ranges(comment, name, code_points):
    rows = [f"{{0x{a:X}, 0x{b:X}}}" for a, b, _ in ranges((c, 0) for c in sorted(code_points))]
    print_array(comment, f"constexpr CodePointRange {name}[]", rows)


def main():
    print(f"// Generated by tests/tokenizer/reference/unicode_tables.py from tokenizers {tokenizers.__version__}.")
    print('#include "harness/io/tokenizer/unicode_tables.h"\n\n// clang-format off\nnamespace mg {\nnamespace {\n')
    rows = [f"{{0x{a:X}, 0x{b:X}, 0x{v:X}}}" for a, b, v in substitutions()]
    print_array("First, last, representative: see regex_stand_ins().", "constexpr StandIn kStandIns[]", rows)
    rows = [f"{{0x{a:X}, 0x{b:X}}}" for a, b, _ in normaliser_strangers()]
    print_array("See normaliser_strangers().", "constexpr CodePointRange kStrangers[]", rows)
    print_ranges("char::is_numeric", "kNumeric", numeric())
    print_ranges("unicode_categories and ASCII punctuation", "kPunctuation",
                 set(CODE_POINTS) - kept(pre_tokenizers.Punctuation("removed")))
    print_ranges(r"\w of the regex crate", "kWord", word())
    print("}  // namespace\n")
    for function, kind, name in (("regex_stand_ins", "StandIn", "kStandIns"),
                                 ("normaliser_strangers", "CodePointRange", "kStrangers"),
                                 ("numeric_ranges", "CodePointRange", "kNumeric"),
                                 ("punctuation_ranges", "CodePointRange", "kPunctuation"),
                                 ("word_ranges", "CodePointRange", "kWord")):
        print(f"std::span<const {kind}> {function}() {{ return {name}; }}")
    print("\n}  // namespace mg\n// clang-format on")


if __name__ == "__main__":
    sys.exit(main())
