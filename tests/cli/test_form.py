"""A structured answer on a terminal: it grows in place, ends as JSON to copy, and nothing refused stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from headrace.cli import form
from headrace.testing.playback import Response, ScriptedHTTP

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "rows": {"type": "array", "items": {"type": "integer"}}},
    "required": ["title", "rows"],
    "additionalProperties": False,
}


def test_a_value_as_lines() -> None:
    value = {"a/b": "x\x1b", "rows": [1, {"c": None}], "none": {}, "text": "grow"}
    assert list(form.lines(value, "/text")) == [
        "{",
        '  "a/b": "x\\u001b",',
        '  "rows": [',
        "    1,",
        "    {",
        '      "c": null',
        "    }",
        "  ],",
        '  "none": {},',
        '  "text": "grow▌',
        "}",
    ]
    assert json.loads("\n".join(form.lines(value))) == value
    assert list(form.lines("x", "")) == ['"x"']
    assert list(form.lines({"a/b": "x"}, "/a~1b"))[1] == '  "a/b": "x▌'


def test_it_grows_in_place_and_stays(headrace: Any, screenful: Any) -> None:
    (headrace.home / "s.json").write_text(json.dumps(SCHEMA))
    with headrace.terminal("ask", "-m", "demo:fast", "--schema", "s.json", "Hi") as tty:
        assert tty.end() == 0
    screen = screenful(80)
    screen.feed(tty.seen)
    end = screen.text.index("}")
    value = json.loads("\n".join(screen.text[: end + 1]))
    assert set(value) == {"title", "rows"}
    assert "▌" not in "\n".join(screen.text)


def test_calls_of_tools_stand_above_the_value(headrace: Any, screenful: Any) -> None:
    (headrace.home / "s.json").write_text(json.dumps(SCHEMA))
    (headrace.home / "shop.py").write_text("def price(article: str) -> float:\n    return 12.5\n")
    more = ("--schema", "s.json", "--tool", "shop.py:price")
    with headrace.terminal("ask", "-m", "demo:fast", *more, "What does it cost?") as tty:
        assert tty.end() == 0
    screen = screenful(80)
    screen.feed(tty.seen)
    text = [line.rstrip() for line in screen.text]
    call = text.index('· price {"article":"article"}')
    assert text[call + 1 : call + 3] == ["· price → 12.5", "{"]
    done = headrace("ask", "-m", "demo:fast", *more, "What does it cost?")
    assert set(json.loads(done.stdout)) == {"title", "rows"}


async def test_what_was_refused_does_not_stay(
    headrace: Any, screenful: Any, openai_chunks: Callable[..., list[bytes]]
) -> None:
    (headrace.home / "s.json").write_text(json.dumps(SCHEMA))

    def answer(*pieces: str) -> Response:
        return Response(headers={"Content-Type": "text/event-stream"}, pieces=openai_chunks(*pieces))

    async with ScriptedHTTP(
        answer('{"title": "wro', 'ng", "rows": ["x"]}'), answer('{"title": "right", ', '"rows": [1]}')
    ) as server:
        variables = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        with headrace.terminal("ask", "-m", "openai:m", "--schema", "s.json", "Hi", **variables) as tty:
            assert await asyncio.to_thread(tty.end) == 0
    screen = screenful(80)
    screen.feed(tty.seen)
    text = "\n".join(screen.text)
    assert "wrong" not in text
    assert "taken back (early-reject)" in text
    assert '"title": "right"' in text
