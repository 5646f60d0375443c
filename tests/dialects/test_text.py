"""The plain EventSource form, read as the five lines of JavaScript would read it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace import events
from headrace.protocol import sse


class Page:
    """A page that shows what comes, and remembers the cursor as a browser does."""

    def __init__(self) -> None:
        self.text = ""
        self.done: dict | None = None
        self.errors: list[str] = []
        self.decoder = sse.Decoder()

    def take(self, data: bytes) -> None:
        for block in self.decoder.feed(data):
            assert self.done is None, "something came after done"
            body = msgspec.json.decode(block.data)
            match body["type"]:
                case "text":
                    self.text += body["content"]
                case "reset":
                    self.text = ""
                case "error":
                    self.errors.append(body["code"])
                case "done":
                    self.done = body

    def reconnect(self) -> int:
        """The seq to go on after; what was half received is dropped."""
        last = self.decoder.last_id
        self.decoder = sse.Decoder(last_id=last)
        return int(last.rpartition(".")[2]) if last else 0


def _answer(batch: list[events.Event]) -> str:
    end = batch[-1]
    assert isinstance(end, events.RunEnd)
    return end.result["text"]


def test_the_page_shows_the_answer(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    page = Page()
    page.take(encode("text", batch))
    assert page.text == _answer(batch)
    end = batch[-1]
    assert page.errors == ([end.error.code] if end.error else [])
    assert page.done == {"type": "done"} | ({} if end.outcome == "completed" else {"outcome": end.outcome})


def test_cut_at_every_byte_and_reconnected(name: str, scenario: Callable, encode: Callable) -> None:
    batch = scenario(name)
    whole = encode("text", batch)
    for cut in range(len(whole)):
        page = Page()
        page.take(whole[:cut])
        if page.done is not None:
            break
        page.errors.clear()
        page.take(encode("text", batch, page.reconnect()))
        assert page.text == _answer(batch), cut
        assert page.done is not None


def test_the_first_block_already_names_the_run(scenario: Callable, encode: Callable) -> None:
    batch = scenario("story")
    page = Page()
    page.take(encode("text", batch[:1]))
    assert page.text == ""
    assert page.decoder.last_id == f"{batch[0].run}.1"
