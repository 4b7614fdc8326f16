"""Compares `mergegauge render` with jinja2, set up as transformers does, on templates and chats.

Run by hand, in an environment with jinja2 (3.1.6):

    python3 tests/chat_template/reference/compare.py build/mergegauge FOLDER [--fuzz COUNT]

FOLDER holds *.jinja templates.  Every template renders every chat below, with tools, thinking switches and so on;
--fuzz adds COUNT small random templates.  Texts must be equal, and both sides must agree on what is an error.
"""
import datetime
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = "2024-07-26T12:34:56"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

    def _block(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromisoformat(NOW).strftime(f)
    return env


def chats():
    weather = {"type": "function", "function": {
        "name": "get_weather", "description": "Current weather <b>&'\"</b>",
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "A city, e.g. Z\u00fcrich"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"]}, "more": {"type": "array", "items": {"type": "number"}},
            "place": {"type": "object", "properties": {"lat": {"type": "number"}}}}},
        "return": {"type": "string", "description": "weather"}}}
    plain = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}
    user = {"role": "user", "content": "Hello, wie geht's? \u4f60\u597d <|im_start|>"}
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 3, "x": 1.5, "ok": True, "n": None}}}]}
    call_text = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]}
    result = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"temp\": 21}"}
    thought = {"role": "assistant", "content": "<think>\nhmm\n</think>\n\nYes.", "reasoning_content": "hmm"}
    messages = {
        "one": [user],
        "system": [{"role": "system", "content": "  You are terse.  \n"}, user],
        "turns": [{"role": "system", "content": "S"}, user, {"role": "assistant", "content": " Fine. "}, {"role": "user", "content": "And you?\n"}],
        "ends with assistant": [user, {"role": "assistant", "content": "Yes."}],
        "thinking": [user, thought, {"role": "user", "content": "More"}],
        "thinking last": [user, thought],
        "call": [user, call],
        "call and result": [user, call, result],
        "call, result, answer": [user, call, result, {"role": "assistant", "content": "21 degrees"}, {"role": "user", "content": "thanks"}],
        "call as text": [user, call_text, dict(result, tool_call_id="abcdefghi")],
        "two results": [user, dict(call, tool_calls=call["tool_calls"] * 2), result, result],
        "parts": [{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}]}],
        "developer": [{"role": "developer", "content": "D"}, user],
        "two users": [user, user],
        "empty": [],
        "empty content": [{"role": "user", "content": ""}],
        "unknown role": [{"role": "narrator", "content": "x"}],
        "no content": [{"role": "user"}],
        "none content": [user, {"role": "assistant", "content": None}],
    }
    settings = [{}, {"tools": [weather]}, {"tools": [weather, plain], "enable_thinking": False},
                {"enable_thinking": True, "thinking": True}, {"enable_thinking": False, "thinking": False},
                {"tools": [plain], "documents": [{"title": "T", "text": "doc"}], "reasoning_effort": "high"},
                {"add_vision_id": True, "date_string": "26 Jul 2024", "keep_cot": True, "continue_final_message": True}]
    for (name, chat), extra, prompt in itertools.product(messages.items(), settings, (True, False)):
        yield name, {"messages": chat, "tools": None, "documents": None, "add_generation_prompt": prompt, **TOKENS, **extra}


def ours(program, file, rows):
    lines = "".join(json.dumps({**row, "now": NOW}, ensure_ascii=False) + "\n" for row in rows)
    done = subprocess.run([program, "render", "--template", str(file)], input=lines.encode(), capture_output=True,
                          check=False, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{file}: exit {done.returncode}: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def expected(env, source, rows):
    try:
        template = env.from_string(source)
    except jinja2.TemplateError as error:
        return [{"error": repr(error)}] * len(rows)
    out = []
    for row in rows:
        try:
            out.append({"text": template.render(**json.loads(json.dumps(row)))})
        except Exception as error:  # noqa: BLE001  whatever Python raises is an error of the template
            out.append({"error": repr(error)})
    return out


def compare(program, env, name, file, rows):
    source = pathlib.Path(file).read_bytes().decode()
    theirs, mine = expected(env, source, rows), ours(program, file, rows)
    assert len(theirs) == len(mine), name
    bad = 0
    for i, (their, my) in enumerate(zip(theirs, mine)):
        if their.get("text") != my.get("text"):
            bad += 1
            if bad <= 2:
                print(f"{name}, chat {i}: jinja2 {their}\n    ours {my}")
    texts = sum("text" in row for row in theirs)
    return len(rows), texts, bad


EXPRESSIONS = ["1", "2.5", "'a b'", "'\u00e9\u4e2d'", "x", "y", "s", "d", "l", "nothing", "none", "true", "[1, 'b', none]",
               "{'a': 1, 'b': [2]}", "(1, 2)", "s.strip()", "s.split(' ')", "s.upper()", "l[0]", "l[-1]", "l[1:]", "s[::-1]",
               "d.a", "d['b']", "d.get('z', 5)", "d.items()", "range(3)", "namespace(a=1)", "s|length", "l|first", "l|join('-')",
               "s|upper", "d|tojson", "l|tojson(indent=2)", "s|title", "x|string", "l|sort", "l|reverse|list", "d|dictsort",
               "l|map('string')|join(',')", "l|select('string')|list", "s|replace('a', 'b')", "s|trim", "x|int", "s|default('q')",
               "nothing|default('q')", "d|length", "l|last", "s|capitalize", "s|indent(2)", "y|round(1)", "l|unique|list",
               "'%s-%05d' % ('a', 7)", "'{} {x:>5}'.format(1, x=2)", "s.startswith('a')", "s.find('b')", "l|min", "l|max", "s|list"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in", "**"]
TESTS = ["defined", "none", "string", "mapping", "iterable", "number", "sequence", "true", "integer", "undefined", "odd"]


def random_expression(rng, depth=0):
    kind = rng.random()
    if depth > 2 or kind < 0.45:
        return rng.choice(EXPRESSIONS)
    inner = lambda: random_expression(rng, depth + 1)  # noqa: E731
    if kind < 0.7:
        return f"({inner()} {rng.choice(OPERATORS)} {inner()})"
    if kind < 0.8:
        return f"({inner()} if {inner()} else {inner()})"
    if kind < 0.88:
        return f"({inner()} is {rng.choice(['', 'not '])}{rng.choice(TESTS)})"
    if kind < 0.94:
        return f"(not {inner()})"
    return f"{rng.choice(['s', 'l', 'd', 'x'])}[{inner()}]"


def random_body(rng, depth=0):
    out = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.random()
        dash = lambda: rng.choice(["", "", "-", "+"])  # noqa: E731
        space = rng.choice(["", " ", "\n", "  \n  ", "text ", "\n\n"])
        if kind < 0.4 or depth > 2:
            out.append(f"{space}{{{{{rng.choice(['', '-'])} {random_expression(rng)} {rng.choice(['', '-'])}}}}}")
        elif kind < 0.55:
            out.append(f"{space}{{%{dash()} if {random_expression(rng)} {dash()}%}}{random_body(rng, depth + 1)}"
                       f"{{%{dash()} else %}}{random_body(rng, depth + 1)}\n  {{%{dash()} endif {dash()}%}}\n")
        elif kind < 0.7:
            out.append(f"{space}{{%{dash()} for i in {random_expression(rng)} %}}{{{{ loop.index }}}}{{{{ i }}}}"
                       f"{random_body(rng, depth + 1)}{{%{dash()} endfor {dash()}%}}")
        elif kind < 0.85:
            out.append(f"{space}{{%{dash()} set {rng.choice('xyz')} = {random_expression(rng)} {dash()}%}}\n")
        elif kind < 0.92:
            out.append(f"{space}{{%- macro m{depth}(a, b=2) %}}{{{{ a }}}}{random_body(rng, depth + 2)}{{% endmacro %}}{{{{ m{depth}({random_expression(rng)}) }}}}")
        else:
            out.append(f"{space}{{#{rng.choice(['', '-'])} c {rng.choice(['', '-'])}#}}\n")
    return "".join(out)


def fuzz(program, env, count):
    rows = [{"x": 3, "y": 2.25, "s": "ab cAb <i>", "d": {"b": [1, 2], "a": "x"}, "l": [3, 1, 2]},
            {"x": 0, "y": -1.5, "s": "", "d": {}, "l": ["b", "A", "c"]}]
    rows = [{"tools": None, "documents": None, "add_generation_prompt": False, **row} for row in rows]
    total = texts = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            file = pathlib.Path(folder) / "t.jinja"
            file.write_text(random_body(random.Random(seed)), encoding="utf-8")
            n, t, b = compare(program, env, f"seed {seed}: {file.read_text()!r}", file, rows)
            total, texts, bad = total + n, texts + t, bad + b
    print(f"fuzz: {total} renderings, {texts} texts, {bad} differences")
    return bad


def main():
    program, folder = sys.argv[1:3]
    env = environment()
    rows = [row for _, row in chats()]
    bad = 0
    for file in sorted(pathlib.Path(folder).glob("*.jinja")):
        total, texts, differences = compare(program, env, file.name, file, rows)
        print(f"{file.name}: {total} chats, {texts} texts, {total - texts} errors, {differences} differences")
        bad += differences
    if "--fuzz" in sys.argv:
        bad += fuzz(program, env, int(sys.argv[sys.argv.index("--fuzz") + 1]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
