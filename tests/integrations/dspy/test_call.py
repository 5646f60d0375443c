"""One call as a run: numbers, spans, endings; legal as any run is. Needs no DSPy."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from headrace import errors, events
from headrace.integrations.dspy import call, stopping
from headrace.messages import Usage
from headrace.protocol.lifecycle import Lifecycle


def test_a_run_is_legal_and_numbered(keep: Any) -> None:
    seen: list[events.Event] = []
    made = call.Call("Program", sinks=[keep], outlet=seen.extend)
    span = made.open("lm", "model", made.root, {"model": "m"})
    made.used(span, Usage(basis="reported", input_tokens=3, output_tokens=2))
    made.used(span, Usage(basis="reported", input_tokens=4, cached_tokens=1))
    made.close(span, ValueError("no"))
    made.end(None, {"answer": "a"})
    made.write(events.Status(message="too late"))
    lifecycle = Lifecycle()
    lifecycle.check(events.RunStart(kind="module", model=""))
    for event in seen:
        lifecycle.check(event)
    assert lifecycle.open == {}
    keep.check()
    last = keep.events[-1]
    assert last.data["usage"] == {
        "input_tokens": 7,
        "output_tokens": 2,
        "cached_tokens": 1,
        "basis": "reported",
    }
    assert last.data["result"] == {"value": {"answer": "a"}}


def test_threads_of_one_call_share_its_numbers(keep: Any) -> None:
    made = call.Call("Program", sinks=[keep])

    def work() -> None:
        for _ in range(200):
            made.write(events.Status(message="x"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.end(None)
    keep.check()
    assert len(keep.events) == 804


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (ValueError("x"), "failed", "interrupted"),
        (errors.ProviderError("x", code="rate-limited"), "failed", "rate-limited"),
        (type("LMError", (Exception,), {})("x"), "failed", "provider-error"),
        (asyncio.CancelledError(), "cancelled", None),
        (KeyboardInterrupt(), "cancelled", None),
        (stopping.Stopped(), "cancelled", None),
    ],
)
def test_how_it_ends(keep: Any, error: BaseException, outcome: str, code: str | None) -> None:
    made = call.Call("Program", sinks=[keep])
    made.end(error)
    made.end(None)
    last = keep.events[-1]
    assert last.data["outcome"] == outcome
    assert (last.data.get("error") or {}).get("code") == code


def test_spans_that_are_not_told_of_lend_their_parents_id(keep: Any) -> None:
    made = call.Call("Program", sinks=[keep], operations=["lm"])
    lm = made.open("lm", "m", made.open("predictor", "p", made.root, {}), {})
    assert [event.operation for event in keep.spans().values()] == ["m"]
    assert (lm.id, keep.spans()["s1"].data.get("parent", "")) == ("s1", "")


def test_values_that_have_no_json() -> None:
    class Broken:
        def toDict(self) -> Any:
            raise RuntimeError

    assert call.jsonable({"a": {1, 2}}) == {"a": [1, 2]}
    assert call.jsonable(Broken()) == "<Broken>"
