"""One object a token, read line by line."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


def _read(body: bytes) -> tuple[str, list[dict]]:
    lines = [line for line in body.split(b"\n") if line]
    assert lines.pop() == b"data: [DONE]"
    text, others = "", []
    for line in lines:
        frame = msgspec.json.decode(line.removeprefix(b"data: "))
        if "token" in frame:
            text += frame["token"]
        elif "reset" in frame:
            text = ""
        else:
            others.append(frame)
    return text, others


def test_the_tokens_are_the_answer(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    text, others = _read(encode("token", batch))
    assert text == batch[-1].result["text"]
    error = batch[-1].error
    assert others == ([{"error": {"code": error.code, "message": error.message}}] if error else [])


def test_going_on_in_mid_run(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    for after in range(len(batch)):
        shown = "".join(e.delta for e in batch[:after] if e.type == "text-delta")
        resets = [e for e in batch[after:] if e.type == "output-reset"]
        if resets:
            text, _ = _read(encode("token", batch, after))
            assert text == batch[-1].result["text"]
        elif not any(e.type == "output-reset" for e in batch[:after]):
            assert shown + _read(encode("token", batch, after))[0] == batch[-1].result["text"]
