"""Rows that are made to break things: one line that names the file, or they cost themselves; never a traceback."""

import json

import pytest
from hostile import CHAT, GROW, LOOP, ROW, says_one_line


def line(**changes) -> bytes:
    return json.dumps({**ROW, **changes}).encode()


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return b'{"prompt": "q", "completion": ' + opening.encode() * depth + closing.encode() * depth + b"}"


# name: what stands as the second of three lines of a JSONL file.
ROWS = {
    "NaN prompt": b'{"prompt": NaN, "completion": "a"}',
    "infinity": b'{"prompt": "q", "completion": Infinity}',
    "a number too large": b'{"prompt": "q", "completion": 1e999}',
    "a long integer": b'{"prompt": "q", "completion": ' + b"9" * 100_000 + b"}",
    "nested lists": nested(10_000),
    "nested objects": nested(10_000, '{"a":', "1" + "}"),
    "half a nest": b'{"prompt": "q", "completion": ' + b"[" * 100_000,
    "null bytes": line(completion="a\u0000b"),
    "raw null bytes": b'{"prompt": "q", "completion": "a\x00b"}',
    "only null bytes": b"\x00" * 1000,
    "a lone surrogate": rb'{"prompt": "q", "completion": "\ud800"}',
    "a lone surrogate in a key": rb'{"prompt": "q", "completion": "a", "\udfff": 1}',
    "a key twice": b'{"prompt": "q", "completion": "a", "completion": "b"}',
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "Latin-1": '{"prompt": "q", "completion": "caf\u00e9"}'.encode("latin-1"),
    "a BOM in the middle": b"\xef\xbb\xbf" + line(),
    "a list": b'["q", "a"]',
    "a number": b"17",
    "a text": b'"q"',
    "null": b"null",
    "half a row": b'{"prompt": "q", "comp',
    "two rows in a line": line() + line(),
    "no columns": b"{}",
    "an unknown column": b'{"prompt": "q", "reply": "a"}',
    "a completion of null": line(completion=None),
    "a completion that is an object": line(completion={"a": 1}),
    "completions of numbers": b'{"prompt": "q", "completions": [1, 2]}',
    "no completions": b'{"prompt": "q", "completions": []}',
    "messages without content": b'{"messages": [{"role": "user"}]}',
    "messages of numbers": b'{"messages": [1, 2]}',
    "a robot's message": json.dumps({"messages": [{"role": "robot", "content": "x"}]}).encode(),
    "a template of its own": json.dumps({"messages": CHAT, "chat_template_kwargs": {"chat_template": GROW}}).encode(),
    "a looping template": json.dumps({"messages": CHAT, "chat_template_kwargs": {"chat_template": LOOP}}).encode(),
    "template arguments of text": json.dumps({"messages": CHAT, "chat_template_kwargs": "x"}).encode(),
    "tools of numbers": json.dumps({"messages": CHAT, "tools": [1]}).encode(),
    "terminal escapes": line(completion="\u001b]0;x\u0007\u001b[2J"),
    "a bidirectional override": line(completion="\u202eabc"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_hostile_row_costs_itself_or_is_named(command, tiny_model, tmp_path, name):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(line() + b"\n" + ROWS[name] + b"\n" + line() + b"\n")
    code, _, err = command("score", tiny_model, source, out, "--device", "cpu")
    says_one_line(code, err)
    if code:
        assert "in.jsonl" in err
        return
    written = [json.loads(found) for found in out.read_bytes().splitlines()]
    # What is left out is counted and named.
    assert len(written) == 3 or "left out" in err or "not scored" in err, err[-800:]
    assert written[0]["reward"] == written[-1]["reward"]
