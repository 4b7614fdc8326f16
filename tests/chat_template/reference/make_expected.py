"""Records what jinja2 makes of the templates in tests/chat_template/templates.

Run by hand, in an environment with jinja2 (3.1.6):

    python3 tests/chat_template/reference/make_expected.py > tests/chat_template/expected.jsonl

Each line: {"template", "chat" (an index into chats.jsonl), and "text", or "error": true}.  The chats of compare.py, without
repetitions, are written to tests/chat_template/chats.jsonl.
"""
import json
import pathlib

import compare

FOLDER = pathlib.Path(__file__).parents[1]


def main():
    env = compare.environment()
    rows = [row for i, (_, row) in enumerate(compare.chats()) if i % 14 in (0, 1, 2, 5, 7)]
    with open(FOLDER / "chats.jsonl", "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    for file in sorted((FOLDER / "templates").glob("*.jinja")):
        source = file.read_bytes().decode()
        some = rows if file.stem in ("chatml_tools", "alternating", "dated_headers", "macros", "generation") else rows[:1]
        for i, result in enumerate(compare.expected(env, source, some)):
            line = {"template": file.name, "chat": i, **({"text": result["text"]} if "text" in result else {"error": True})}
            print(json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    main()
