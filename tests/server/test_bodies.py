"""Bodies to specs, without a server."""

from __future__ import annotations

import msgspec
import pytest

from headrace import errors, messages
from headrace.providers.base import Timeouts
from headrace.runs.spec import RunSpec
from headrace.server import bodies


def _spec(body: bytes, history: tuple[messages.Message, ...] = ()) -> RunSpec:
    return bodies.spec_of(
        bodies.parse_run(body),
        default_model="demo",
        history=history,
        max_prompt_chars=1000,
        timeouts=Timeouts(connect=1, stall=2),
    )


def test_defaults_are_those_of_a_spec() -> None:
    spec = _spec(b'{"input":"Hi"}')
    plain = RunSpec(model="demo", messages=(messages.user("Hi"),), timeouts=Timeouts(connect=1, stall=2))
    assert spec == plain


def test_timeouts_are_laid_over_the_servers() -> None:
    spec = _spec(b'{"input":"Hi","timeouts":{"stall":null,"total":9}}')
    assert spec.timeouts == Timeouts(connect=1, stall=None, total=9)


def test_every_name_of_a_spec_can_be_said_or_is_not_the_clients() -> None:
    own = {"owner", "idempotency_key", "fingerprint", "record", "kind", "retry", "output"}
    named = {"grace": "grace_s", "deadline": "deadline_s"}
    said = {named.get(name, name) for name in bodies.RunBody.__struct_fields__}
    assert set(RunSpec.__struct_fields__) - own <= said


def test_history_goes_between_system_and_input() -> None:
    spec = _spec(b'{"input":"c","system":"s"}', (messages.user("a"), messages.assistant("b")))
    assert [m.text for m in spec.messages] == ["s", "a", "b", "c"]


def test_a_conversation_is_a_chat() -> None:
    assert _spec(b'{"input":"a","conversation":"c.1"}').kind == "chat"


def test_tool_results_count_as_prompt() -> None:
    thread = [{"role": "tool", "tool_call_id": "c", "content": "x" * 2000}]
    with pytest.raises(errors.UsageError) as caught:
        _spec(msgspec.json.encode({"messages": thread}))
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("name", ["a", "run_01JD", "user@host:1.2-3", "x" * 128])
def test_names_of_conversations(name: str) -> None:
    bodies.check_conversation(name)


@pytest.mark.parametrize("name", ["", " a", "a/b", "-a", "a\n", "x" * 129, "ü", "a b"])
def test_names_that_conversations_cannot_have(name: str) -> None:
    with pytest.raises(errors.UsageError):
        bodies.check_conversation(name)


def test_answers_to_questions() -> None:
    assert bodies.parse_response(b'{"value":{"a":1}}') == {"a": 1}
    for bad in (b"", b"{}", b'{"value":1,"x":2}'):
        with pytest.raises(errors.UsageError):
            bodies.parse_response(bad)
