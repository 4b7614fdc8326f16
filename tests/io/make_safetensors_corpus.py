#!/usr/bin/env python3
"""Writes safetensors_corpus.jsonl: small files, valid and broken, with the verdict of the reference reader on each.

Run by hand, in a throw-away virtual environment; neither the build nor the tests need Python:

    python3 -m venv venv && venv/bin/pip install safetensors==0.8.0 numpy
    venv/bin/python tests/io/make_safetensors_corpus.py tests/io/safetensors_corpus.jsonl

One line a case: name, file (hex), accepted, error (the reference's text), tensors (of accepted files: name, dtype,
shape, data as hex), metadata, and repeated (a tensor or metadata name occurs twice: the reference keeps the last, our
reader refuses).  The random part is seeded: the same version of the reference gives the same file.
"""

import json
import os
import random
import struct
import sys
import tempfile

import safetensors
from safetensors import deserialize, safe_open

RECORD = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
REST = RECORD[4:]  # the same record, to be put under another key
FOUR = b"\x00\x01\x02\x03"


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


def record(dtype="F32", shape="[1]", offsets="[0,4]", extra=""):
    quoted = dtype if dtype[:1] in '{["0123456789nt' else f'"{dtype}"'
    return f'{{"a":{{"dtype":{quoted},"shape":{shape},"data_offsets":{offsets}{extra}}}}}'


def structure_cases():
    yield "plain", file_of("{" + RECORD + "}", FOUR)
    yield "empty file", b""
    yield "seven bytes", b"\0" * 7
    yield "header of length 0", file_of("")
    yield "no tensors", file_of("{}")
    yield "no tensors, data", file_of("{}", b"x")
    for name, text in {
        "array": "[]", "null": "null", "string": '"x"', "number": "1", "open": "{" + RECORD,
        "space before": " {" + RECORD + "}", "newline before": "\n{" + RECORD + "}",
        "spaces after": "{" + RECORD + "}   ", "whitespace after": "{" + RECORD + "}\t\n\r ",
        "NUL after": "{" + RECORD + "}\0", "letter after": "{" + RECORD + "}x", "comma at the end": "{" + RECORD + ",}",
        "NUL before": "\0{" + RECORD + "}", "NUL inside": "{\0" + RECORD + "}", "comment": "{/**/" + RECORD + "}",
        "vertical tab": "{\x0b" + RECORD + "}", "form feed": "{\x0c" + RECORD + "}", "no-break space": "{\u00a0" + RECORD + "}",
        "single quotes": "{" + RECORD.replace('"', "'") + "}", "two objects": "{" + RECORD + "}{}",
        "spaces everywhere": '{ "a" : { "dtype" : "F32" , "shape" : [ 1 ] , "data_offsets" : [ 0 , 4 ] } } ',
        "key order": '{"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}',
    }.items():
        yield "header: " + name, file_of(text, FOUR)
    yield "header: byte order mark", file_of(b"\xef\xbb\xbf{" + RECORD.encode() + b"}", FOUR)
    for length in (2, 100, 99_999_999, 100_000_000, 100_000_001, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 9, 2**64 - 1):
        yield f"header length says {length}", struct.pack("<Q", length) + b"{}"
    yield "header length short by one", struct.pack("<Q", len(RECORD) + 1) + b"{" + RECORD.encode() + b"}" + FOUR
    yield "header length long by one", struct.pack("<Q", len(RECORD) + 3) + b"{" + RECORD.encode() + b"}" + FOUR
    yield "big-endian header length", struct.pack(">Q", len(RECORD) + 2) + b"{" + RECORD.encode() + b"}" + FOUR


def name_cases():
    for name, key in {
        "empty": b'""', "escaped slash": b'"\\/"', "escaped NUL": b'"\\u0000"', "escaped pair": b'"\\ud83d\\ude00"',
        "lone high surrogate": b'"\\ud800"', "lone low surrogate": b'"\\ude00"', "high, letter": b'"\\ud83dx"',
        "high, escaped letter": b'"\\ud83d\\u0041"', "high, high": b'"\\ud83d\\ud83d"', "bad escape": b'"\\x"',
        "capital escape": b'"\\U0041"', "short escape": b'"\\u00"', "control": b'"\x01"', "tab": b'"\t"', "delete": b'"\x7f"',
        "noncharacter": '"\uffff"'.encode(), "four bytes": '"\U0001f600"'.encode(), "lone byte": b'"\xff"',
        "continuation": b'"\x80"', "overlong": b'"\xc0\x80"', "overlong three": b'"\xe0\x80\x80"',
        "encoded surrogate": b'"\xed\xa0\x80"', "beyond Unicode": b'"\xf4\x90\x80\x80"', "cut sequence": b'"\xe2\x82"',
        "not a string": b"1", "unquoted": b"a", "latin-1": b'"\xe9"', "long": b'"' + b"n" * 300 + b'"',
    }.items():
        yield "name: " + name, file_of(b"{" + key + b":" + REST.encode() + b"}", FOUR)


def repeat_cases():
    other = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
    yield "twice the same", file_of("{" + RECORD + "," + RECORD + "}", FOUR)
    yield "twice, last fits", file_of("{" + other + "," + RECORD + "}", FOUR)
    yield "twice, first fits", file_of("{" + RECORD + "," + other + "}", FOUR)
    yield "twice, first bad dtype", file_of("{" + other.replace("F32", "XX") + "," + RECORD + "}", FOUR)
    yield "twice, escaped", file_of('{"\\u0061":' + REST + "," + RECORD + "}", FOUR)
    yield "twice, two ranges", file_of("{" + RECORD + ',"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', FOUR * 2)
    yield "metadata twice", file_of('{"__metadata__":{"a":"b"},"__metadata__":{"c":"d"},' + RECORD + "}", FOUR)
    yield "metadata twice, first null", file_of('{"__metadata__":null,"__metadata__":{},' + RECORD + "}", FOUR)
    yield "metadata twice, escaped", file_of('{"__metadata__":{},"\\u005f_metadata__":{},' + RECORD + "}", FOUR)
    yield "metadata key twice", file_of('{"__metadata__":{"format":"pt","format":"tf"},' + RECORD + "}", FOUR)
    for field in ('"dtype":"F32"', '"shape":[1]', '"data_offsets":[0,4]'):
        yield "field twice: " + field, file_of(record(extra="," + field), FOUR)
    yield "unknown field twice", file_of(record(extra=',"x":1,"x":2'), FOUR)


def record_cases():
    for text in ("null", "[]", '["F32",[1],[0,4]]', '["F32",[1],[0,4],1]', '["F32",[1]]', '[{"F32":null},[1],[0,4]]', '"x"',
                 "1", "true", "{}", '{"shape":[1],"data_offsets":[0,4]}', '{"dtype":"F32","data_offsets":[0,4]}',
                 '{"dtype":"F32","shape":[1]}', '{"Dtype":"F32","shape":[1],"data_offsets":[0,4]}',
                 '{"d\\u0074ype":"F32","shape":[1],"data_offsets":[0,4]}'):
        yield "record " + text, file_of('{"a":' + text + "}", FOUR)
    for extra in ("1", "null", '"x"', '{"y":[1,2,{"z":null}]}', "1e400", "-1e999", "1e-999", "1e999999999999", "0e999999999999",
                  "1E+2", "1.", "-", "01", "+1", ".5", "0x10", "NaN", "Infinity", "123456789012345678901234567890", "9" * 300,
                  "9" * 400, "-" + "9" * 30, '"\\ud800"', '{"\\udc00":1}', '"\x01"', "[1,]", "{,}", "tru", "nulL", "[1 2]",
                  '{"a" 1}', "''", "[" * 125 + "]" * 125, "[" * 126 + "]" * 126, "[" * 2000 + "]" * 2000,
                  '{"a":' * 125 + "1" + "}" * 125, '{"a":' * 126 + "1" + "}" * 126):
        yield "unknown field " + extra[:40] + f" ({len(extra)})", file_of(record(extra=',"x":' + extra), FOUR)
    for value in ("null", '"x"', "[]", "{}", '{"a":1}', '{"a":null}', '{"a":"b"}', '{"":""}', '{"a":{}}', '{"a":["b"]}', "1",
                  '{"a":"\\ud800"}', '{"format":"pt","x":"\\u0000"}'):
        yield "metadata " + value, file_of('{"__metadata__":' + value + "," + RECORD + "}", FOUR)
    yield "metadata alone", file_of('{"__metadata__":{"a":"b"}}')
    yield "metadata last", file_of("{" + RECORD + ',"__metadata__":{"a":"b"}}', FOUR)


def number_cases():
    for shape in ("[1.0]", "[1e0]", "[-1]", "[-0]", "[01]", "[1,]", "[null]", '["1"]', "[true]", "[[1]]", "1", "null", "{}", "[]",
                  "[0]", "[1,1]", "[2,2]", "[4294967296,4294967296]", "[9223372036854775807]", "[9223372036854775808]",
                  "[18446744073709551615]", "[18446744073709551616]", "[" + ",".join(["1"] * 200) + "]"):
        yield "shape " + shape[:60], file_of(record(shape=shape), FOUR)
    for shape in ("[0]", "[0,0]", "[0,4]", "[4,0]", "[9223372036854775807,2,0]", "[4611686018427387904,0,8]",
                  "[9223372036854775807,3,0]", "[0,9223372036854775808]", "[18446744073709551615,0]", "[2,18446744073709551615,0]"):
        yield "empty shape " + shape, file_of(record(shape=shape, offsets="[0,0]"))
    for offsets in ("[0]", "[]", "[0,4,5]", "[0.0,4]", "[0,4.0]", "[-0,4]", "[-4,0]", "[4,0]", "[0,5]", "[0,3]", "[1,5]", "[4,8]",
                    "[0,18446744073709551615]", "[0,18446744073709551620]", "[18446744073709551612,18446744073709551616]",
                    "[18446744073709551611,18446744073709551615]", "null", '"x"', '{"0":0}', '[null,4]', '["0","4"]', "[[0],[4]]"):
        yield "offsets " + offsets, file_of(record(offsets=offsets), FOUR)


def dtype_cases():
    names = ("BOOL U8 I8 U16 I16 U32 I32 U64 I64 F4 F6_E2M3 F6_E3M2 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F16 BF16 F32 "
             "F64 C64 F8_E4M3FN F8_E3M4 F8_E4M3B11FNUZ F128 C128 U4 I4 U1 E8M0 f32 Float32 torch.float32 F32_ ").split(" ")
    sizes = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BF16": 16, "C64": 64}
    for name in names:
        digits = "".join(c for c in name.split("_")[0] if c.isdigit())
        bits = sizes.get(name, int(digits or 8))
        yield "dtype " + name, file_of(record(name, "[8]", f"[0,{bits}]"), bytes(range(bits)))
        yield "dtype " + name + ", one byte more", file_of(record(name, "[8]", f"[0,{bits + 1}]"), bytes(bits + 1))
        yield "dtype " + name + ", shape [3]", file_of(record(name, "[3]", f"[0,{bits * 3 // 8}]"), bytes(bits * 3 // 8))
    for dtype in ('{"F32":null}', '{"F32":{}}', '{"F32":[]}', '{"F32":0}', '{"F32":null,"I32":null}', '{"F32":null,"F32":null}',
                  '{"X":null}', "{}", '["F32"]', "null", "1", "true"):
        yield "dtype written " + dtype, file_of(record(dtype), FOUR)
    yield "dtype escaped", file_of(record("\\u004632"), FOUR)


def layout_cases():
    def two(first, second, size, shape="[1]", shape2="[1]"):
        return file_of('{"a":{"dtype":"F32","shape":%s,"data_offsets":%s},"b":{"dtype":"F32","shape":%s,"data_offsets":%s}}'
                       % (shape, first, shape2, second), bytes(range(size)))
    yield "two in order", two("[0,4]", "[4,8]", 8)
    yield "two in reverse", two("[4,8]", "[0,4]", 8)
    yield "same range", two("[0,4]", "[0,4]", 4)
    yield "overlap by half", two("[0,8]", "[4,8]", 8, "[2]")
    yield "one inside the other", two("[0,12]", "[4,8]", 12, "[3]")
    yield "hole between", two("[0,4]", "[8,12]", 12)
    yield "hole of one byte", two("[0,4]", "[5,9]", 9)
    yield "hole before", two("[4,8]", "[8,12]", 12)
    yield "second reversed", two("[0,4]", "[4,0]", 4)
    yield "trailing byte", two("[0,4]", "[4,8]", 9)
    yield "byte missing", two("[0,4]", "[4,8]", 7)
    yield "no data at all", two("[0,4]", "[4,8]", 0)
    for at in (0, 2, 4, 8):
        yield f"empty second at {at}", two("[0,4]", f"[{at},{at}]", 4, "[1]", "[0]")
        yield f"empty first at {at}", two(f"[{at},{at}]", "[0,4]", 4, "[0]", "[1]")
    yield "two empty", two("[0,0]", "[0,0]", 0, "[0]", "[0,3]")
    yield "two empty further on", two("[4,4]", "[4,4]", 4, "[0]", "[0]")
    yield "empty with a reversed range", two("[0,4]", "[4,0]", 4, "[1]", "[0]")


def mutate(rng, whole):
    """One small change of the kind that editors, disks and careless writers make."""
    kind = rng.randrange(10)
    data = bytearray(whole)
    header_end = 8 + struct.unpack("<Q", whole[:8])[0]
    at = rng.randrange(8, header_end)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.choice(b' "{}[],:0123456789\\-.eEntf_')
    elif kind == 2:
        del data[at]
        data[0:8] = struct.pack("<Q", header_end - 9)
    elif kind == 3:
        data.insert(at, rng.choice(b' "{}[],:0123456789\\-.eE\n\0\x1f\x80'))
        data[0:8] = struct.pack("<Q", header_end - 7)
    elif kind == 4:
        del data[rng.randrange(len(data)):]
    elif kind == 5:
        data += bytes(rng.randrange(1, 5))
    elif kind == 6:
        data[rng.randrange(8)] ^= 1 << rng.randrange(8)
    elif kind == 7:  # one number of the header becomes another
        text = whole[8:header_end].decode()
        spots = [i for i, c in enumerate(text) if c.isdigit()]
        spot = rng.choice(spots)
        text = text[:spot] + rng.choice(["0", "1", "2", "8", "-1", "16", "1.0", "1e1", ""]) + text[spot + 1:]
        return file_of(text, whole[header_end:])
    elif kind == 8:  # two stretches of the header change places
        text = whole[8:header_end]
        i, j = sorted(rng.sample(range(1, len(text)), 2))
        return file_of(text[j:] + text[i:j] + text[:i] if rng.random() < 0.3 else text[:i] + text[j:], whole[header_end:])
    else:  # one token becomes another
        text = whole[8:header_end].decode()
        old = rng.choice(['"F32"', '"F16"', '"I64"', "[", "]", '"shape"', '"dtype"', '"data_offsets"', "{", "}", '"a"', '"b"'])
        new = rng.choice(['"F32"', '"BF16"', '"U8"', "[", "]", "null", '"shape"', '"dtype"', "{", "}", '"a"', '"__metadata__"', "1"])
        return file_of(text.replace(old, new, 1), whole[header_end:])
    return bytes(data)


def mutated_cases(count):
    rng = random.Random(20240607)
    seeds = [
        file_of("{" + RECORD + "}", FOUR),
        file_of('{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},'
                '"b":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},"c":{"dtype":"BOOL","shape":[0],"data_offsets":[20,20]}}   ',
                bytes(range(20))),
        file_of('{"x.lora_A.weight":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[4,8]},'
                '"x.lora_B.weight":{"dtype":"F4","shape":[4,2],"data_offsets":[0,4]}}', bytes(range(8))),
    ]
    for i in range(count):
        mutant = rng.choice(seeds)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            if len(mutant) > 10 and 8 + struct.unpack("<Q", mutant[:8])[0] <= len(mutant) and mutant[8:9]:
                try:
                    mutant = mutate(rng, mutant)
                except (ValueError, IndexError):  # nothing left to change in this way
                    pass
        yield f"mutant {i}", mutant


def repeated_names(whole):
    """Whether a tensor's or metadata entry's name occurs twice, by Python's own JSON reader."""
    found = []

    def pairs(items):
        keys = [key for key, _ in items]
        found.append((len(set(keys)) != len(keys), dict(items)))
        return dict(items)

    try:
        header = json.loads(whole[8:8 + struct.unpack("<Q", whole[:8])[0]].decode(), object_pairs_hook=pairs)
    except (ValueError, RecursionError, struct.error):
        return False
    if not isinstance(header, dict):
        return False
    inner = header.get("__metadata__")
    return any(twice and (value is header or value == header or value == inner) for twice, value in found)


def verdict(path, whole):
    with open(path, "wb") as out:
        out.write(whole)
    try:
        with safe_open(path, "np") as opened:
            names = sorted(opened.keys())
            metadata = opened.metadata()
        tensors = {name: [info["dtype"], list(info["shape"]), bytes(info["data"]).hex()] for name, info in deserialize(whole)}
        assert sorted(tensors) == names
        return {"accepted": True, "tensors": tensors, "metadata": metadata}
    except Exception as error:  # noqa: BLE001: SafetensorError and whatever else the reader raises
        return {"accepted": False, "error": str(error)[:160]}


def main():
    cases = [case for part in (structure_cases(), name_cases(), repeat_cases(), record_cases(), number_cases(), dtype_cases(),
                               layout_cases(), mutated_cases(400)) for case in part]
    names = [name for name, _ in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    path = os.path.join(tempfile.mkdtemp(), "case.safetensors")
    accepted = 0
    with open(sys.argv[1], "w", encoding="ascii") as out:
        out.write(json.dumps({"reference": "safetensors " + safetensors.__version__, "cases": len(cases)}) + "\n")
        for name, whole in cases:
            line = {"name": name, "file": whole.hex(), **verdict(path, whole),
                    "repeated": repeated_names(whole)}
            accepted += line["accepted"]
            out.write(json.dumps(line) + "\n")
    print(f"{len(cases)} cases, {accepted} accepted by the reference")


if __name__ == "__main__":
    main()
