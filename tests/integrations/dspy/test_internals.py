"""The contract with DSPy's inside: all that `internals` relies on. Run with DSPy 3.4.1, 3.2.1, 3.0.4; a new
version of DSPy that breaks one of these says here which, before a user does."""

from __future__ import annotations

import enum
import importlib.util
import inspect
from typing import Any, Literal

import pytest

from headrace.integrations.dspy import internals

dspy = pytest.importorskip("dspy", reason="dspy is not installed here; ./scripts/test-dspy runs these tests")

pytestmark = pytest.mark.dspy

VERSION = tuple(int(part) for part in dspy.__version__.split(".")[:2])


def test_the_version_is_one_that_this_was_run_with() -> None:
    assert dspy.__version__ in internals.RUN_WITH, "add it to RUN_WITH, if all of these tests are good"


def test_litellms_completions_are_module_functions_called_by_name() -> None:
    from dspy.clients import lm

    internals.install(lambda: None)
    for name in ("litellm_completion", "litellm_text_completion", "litellm_responses_completion"):
        for function in (getattr(lm, name), getattr(lm, "a" + name)):
            assert list(inspect.signature(function).parameters) == ["request", "num_retries", "cache"]
            # the name that the cache's key is made from
            assert (function.__module__, function.__qualname__) == ("dspy.clients.lm", function.__name__)
            assert hasattr(function, "__wrapped__")


def test_engines() -> None:
    if VERSION < (3, 4):
        assert importlib.util.find_spec("dspy.clients.execution") is None
        return
    from dspy._vendor.lm15.result import StreamAccumulator
    from dspy.clients import execution
    from dspy.clients.engines.stream_guard import achecked_stream, checked_stream
    from dspy.lm15 import UnsupportedFeatureError

    internals.install(lambda: None)
    assert list(inspect.signature(execution._engine).parameters) == ["lm", "call", "asynchronous"]
    for function in (execution.execute, execution.aexecute):
        assert "_engine" in function.__code__.co_names
    assert issubclass(UnsupportedFeatureError, Exception)
    assert callable(StreamAccumulator.push)
    assert callable(StreamAccumulator.response)
    for guard in (checked_stream, achecked_stream):
        assert list(inspect.signature(guard).parameters) == ["source", "provider"]


def test_a_dspy_that_has_moved_them_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from dspy.clients import lm

    monkeypatch.setattr(internals, "_installed", False)
    monkeypatch.setattr(internals, "_whole", True)
    before = {name: getattr(lm, name) for name in ("litellm_completion", "alitellm_completion")}
    for name in before:
        monkeypatch.delattr(lm, name)
    others = [n for n in dir(lm) if "litellm_" in n and n.endswith("completion")]
    for name in others:
        monkeypatch.setattr(lm, name, getattr(lm, name))  # put back at the end
    if VERSION >= (3, 4):
        from dspy.clients import execution

        monkeypatch.delattr(execution, "_engine")
    monkeypatch.delattr("dspy.utils.callback.ACTIVE_CALL_ID")
    internals.install(lambda: None)
    assert internals._whole is False
    assert internals.active_call_id() is None


def test_installing_twice_wraps_once() -> None:
    from dspy.clients import lm

    internals.install(lambda: None)
    before = lm.litellm_completion
    internals.install(lambda: None)
    assert lm.litellm_completion is before


def test_the_id_of_a_call() -> None:
    seen = []

    class Ask(dspy.Module):
        def forward(self) -> Any:
            seen.append(internals.active_call_id())

    class Watch(dspy.utils.callback.BaseCallback):
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            seen.append(call_id)

    assert internals.active_call_id() is None
    with dspy.context(callbacks=[Watch()]):
        Ask()()
    assert seen[0]
    assert seen[0] == seen[1]


def test_formats() -> None:
    known = internals.adapters()
    assert {name: internals.format_of(cls())[0] for name, cls in known.items()} == {
        name: name for name in known
    }
    assert internals.format_of(known["xml"]())[1] is (VERSION >= (3, 4))

    class Prompt(dspy.ChatAdapter):
        def format_task_description(self, signature: Any) -> str:
            return "mine"

    class Own(dspy.JSONAdapter):
        def parse(self, signature: Any, completion: str) -> Any:
            return {}

    assert internals.format_of(Prompt())[0] == "chat"
    assert internals.format_of(Own()) == (None, False)
    assert internals.format_of(object()) == (None, False)


def test_kinds_of_fields() -> None:
    class Mood(enum.Enum):
        GOOD = "good"

    text = (str, str | None, Literal["a", "b"], Mood)
    assert [internals.kind_of(a) for a in text] == ["text"] * len(text)
    other = (int, bool, list[str], dict[str, int], int | str, Literal[1, 2])
    assert [internals.kind_of(a) for a in other] == ["json"] * len(other)
    cot = dspy.ChainOfThought("question -> answer").predict.signature
    assert [internals.kind_of(f.annotation) for f in cot.output_fields.values()] == ["text", "text"]
