"""Attempts: retries before the first token, failover after it, continuation, usage of calls that broke off."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace import errors, events, messages
from headrace.protocol.lifecycle import Lifecycle
from headrace.protocol.retry import RetryPolicy
from headrace.providers.base import Capabilities
from headrace.providers.scripted import Call, Drop, Fail, Say, Scripted, Think, Usage
from headrace.runlog import MemoryRunLog
from headrace.runs.attempts import CONTINUE
from headrace.runs.engine import Engine
from headrace.runs.spec import RunSpec

QUICK = RetryPolicy(attempts=3, base=0.001, cap=0.002)
GONE = errors.ProviderError("the connection was reset", code="stream-incomplete")
BUSY = errors.ProviderError("busy", code="provider-overloaded")
WRONG_KEY = errors.ProviderError("wrong key", code="auth-failed")


class Table:
    def __init__(self, **providers: Scripted) -> None:
        self.providers = providers

    def resolve(self, name: str) -> tuple[Scripted, str]:
        if name not in self.providers:
            raise errors.ProviderError(f"no model {name}", code="model-not-found")
        return self.providers[name], name

    async def close(self) -> None:
        for provider in self.providers.values():
            await provider.close()


async def run(models: dict[str, Scripted], **options: Any) -> tuple[events.RunEnd, list[events.Event]]:
    engine = Engine(Table(**models), MemoryRunLog())
    options.setdefault("messages", (messages.user("question"),))
    options.setdefault("retry", QUICK)
    active = await engine.start(RunSpec(model=next(iter(models)), **options))
    await active.ended.wait()
    found = [entry.event for entry in active.writer.log.read(0)]
    lifecycle = Lifecycle()
    for event in found:
        lifecycle.check(event)
    assert active.end is not None
    assert shown(found) == active.end.result["text"]
    return active.end, found


def shown(found: list[events.Event]) -> str:
    """What a reader who honours resets has on the screen at the end."""
    blocks: dict[str, str] = {}
    for event in found:
        match event:
            case events.TextDelta(block=block, delta=delta):
                blocks[block] = blocks.get(block, "") + delta
            case events.OutputReset(blocks=gone):
                for block in gone:
                    blocks.pop(block, None)
            case _:
                pass
    return "".join(blocks.values())


def of(found: list[events.Event], kind: type[events.Event]) -> list[Any]:
    return [event for event in found if isinstance(event, kind)]


async def test_what_a_tap_leaves_is_written_also_where_it_ends_the_attempt() -> None:
    model = Scripted([Say("one two three"), Say("four")])
    engine = Engine(Table(m=model), MemoryRunLog())

    def tap(batch: list[events.Event]) -> None:
        for place, event in enumerate(batch):
            if isinstance(event, events.TextDelta) and event.delta == " two":
                del batch[place + 1 :]
                raise errors.RunError("enough", code="output-rejected")

    async def program(context: Any) -> None:
        await context.call(tap=tap)

    active = await engine.start(RunSpec(model="m", messages=(messages.user("x"),)), program)
    await active.ended.wait()
    found = [entry.event for entry in active.writer.log.read(0)]
    assert shown(found) == "one two"
    (end,) = of(found, events.AttemptEnd)
    assert (end.outcome, end.reason) == ("failed", "output-rejected")
    assert active.end is not None
    assert active.end.error is not None
    assert active.end.error.code == "output-rejected"
    assert model.calls[0].ending in ("closed", "completed")


async def test_the_request_is_fitted_to_each_model() -> None:
    models = {"a": Scripted([Fail(GONE)]), "b": Scripted("fine")}
    engine = Engine(Table(**models), MemoryRunLog())

    def fit(request: Any, provider: Any, model: str) -> Any:
        return msgspec.structs.replace(request, seed=len(model) + (provider is models["b"]))

    async def program(context: Any) -> None:
        await context.call(fit=fit, retry=RetryPolicy(attempts=1))

    spec = RunSpec(model="a", fallbacks=("b",), messages=(messages.user("x"),))
    active = await engine.start(spec, program)
    await active.ended.wait()
    assert models["a"].requests[0].seed == 1
    assert models["b"].requests[0].seed == 2


async def test_a_retryable_failure_before_the_first_token_is_tried_again() -> None:
    model = Scripted([[Fail(BUSY)], [Fail(BUSY)], [Say("at last")]])
    end, found = await run({"m": model})
    assert end.outcome == "completed"
    assert [(e.attempt, e.outcome, e.reason) for e in of(found, events.AttemptEnd)] == [
        (1, "failed", "provider-overloaded"),
        (2, "failed", "provider-overloaded"),
        (3, "completed", "stop"),
    ]
    assert not of(found, events.OutputReset)
    assert len(of(found, events.UsageReport)) == 1


async def test_tries_are_bounded_and_the_last_error_is_told() -> None:
    model = Scripted([Fail(BUSY)])
    end, _ = await run({"m": model})
    assert end.outcome == "failed"
    assert end.error is not None
    assert end.error.code == "provider-overloaded"
    assert len(model.calls) == 3
    assert end.usage is None


@pytest.mark.parametrize("error", [WRONG_KEY, errors.ProviderError("no", code="bad-request")])
async def test_what_cannot_succeed_is_not_tried_again(error: errors.ProviderError) -> None:
    model = Scripted([Fail(error)])
    end, _ = await run({"m": model})
    assert len(model.calls) == 1
    assert end.error is not None
    assert (end.error.code, end.error.retryable) == (error.code, False)


async def test_retry_after_beyond_the_cap_is_not_waited_for() -> None:
    model = Scripted([Fail(errors.ProviderError("slow down", code="rate-limited", retry_after=3600))])
    end, _ = await run({"m": model})
    assert len(model.calls) == 1
    assert end.error is not None
    assert end.error.code == "rate-limited"


async def test_after_the_first_token_there_is_no_silent_second_try() -> None:
    model = Scripted([Say("half "), Fail(GONE)])
    end, found = await run({"m": model})
    assert len(model.calls) == 1
    assert end.outcome == "failed"
    assert end.result["text"] == "half "
    (usage,) = of(found, events.UsageReport)
    assert usage.basis == "estimated"
    assert usage.output_tokens >= 1


async def test_an_empty_block_before_a_retry_is_taken_back() -> None:
    model = Scripted([[Think("", pieces=[""]), Fail(BUSY)], [Say("answer")]])
    end, found = await run({"m": model})
    assert end.outcome == "completed"
    assert [reset.reason for reset in of(found, events.OutputReset)] in ([], ["retry"])


async def test_failover_restart_takes_back_what_was_shown() -> None:
    end, found = await run(
        {"a": Scripted([Think("hm"), Say("half of an"), Fail(GONE)]), "b": Scripted("a whole answer")},
        fallbacks=("b",),
    )
    assert end.result == {"text": "a whole answer"}
    (reset,) = of(found, events.OutputReset)
    assert (reset.blocks, reset.reason) == (["b1", "b2"], "failover")
    assert [e.model for e in of(found, events.AttemptStart)] == ["a", "b"]


async def test_failover_before_the_first_token_shows_nothing_twice() -> None:
    end, found = await run({"a": Scripted([Fail(WRONG_KEY)]), "b": Scripted("fine")}, fallbacks=("b",))
    assert end.outcome == "completed"
    assert not of(found, events.OutputReset)


async def test_continue_by_prefill_joins_to_one_answer() -> None:
    second = Scripted("the end.", capabilities=Capabilities(prefill=True))
    end, found = await run(
        {"a": Scripted([Say("Once upon "), Drop()]), "b": second}, fallbacks=("b",), failover="continue"
    )
    assert second.requests[0].prefill == "Once upon "
    assert end.outcome == "completed"
    assert end.result["text"].startswith("Once upon ")
    assert not of(found, events.OutputReset)


async def test_continue_by_instruction_where_there_is_no_prefill() -> None:
    second = Scripted("the end.", capabilities=Capabilities(prefill=False))
    end, _ = await run(
        {"a": Scripted([Say("Once upon "), Drop()]), "b": second}, fallbacks=("b",), failover="continue"
    )
    assert end.result == {"text": "Once upon the end."}
    *_, said, asked = second.requests[0].messages
    assert (said.role, said.text) == ("assistant", "Once upon ")
    assert (asked.role, asked.text) == ("user", CONTINUE)
    assert second.requests[0].prefill is None


async def test_continue_over_three_models_keeps_all_of_it() -> None:
    plain = Capabilities(prefill=False)
    end, _ = await run(
        {
            "a": Scripted([Say("one "), Drop()]),
            "b": Scripted([Say("two "), Fail(GONE)], capabilities=plain),
            "c": Scripted("three", capabilities=plain),
        },
        fallbacks=("b", "c"),
        failover="continue",
    )
    assert end.result == {"text": "one two three"}


async def test_continue_takes_back_half_a_tool_call() -> None:
    end, found = await run(
        {
            "a": Scripted([Say("Looking. "), Call("find", '{"q": "x'), Fail(GONE)]),
            "b": Scripted("Found.", capabilities=Capabilities(prefill=False)),
        },
        fallbacks=("b",),
        failover="continue",
    )
    assert end.result == {"text": "Looking. Found."}
    (reset,) = of(found, events.OutputReset)
    assert len(reset.blocks) == 1


async def test_an_unknown_model_goes_on_to_the_fallback() -> None:
    engine = Engine(Table(b=Scripted("here")), MemoryRunLog())
    spec = RunSpec(model="nowhere", fallbacks=("b",), messages=(messages.user("x"),))
    active = await engine.start(spec)
    await active.ended.wait()
    assert active.end is not None
    assert active.end.result == {"text": "here"}


async def test_usage_is_reported_once_and_summed_over_attempts() -> None:
    end, found = await run(
        {
            "a": Scripted([Usage(input_tokens=5, output_tokens=2, basis="reported"), Say("x y"), Fail(GONE)]),
            "b": Scripted([Say("z"), Usage(input_tokens=7, output_tokens=1, basis="reported")]),
        },
        fallbacks=("b",),
    )
    first, second = of(found, events.UsageReport)
    assert (first.basis, second.basis) == ("estimated", "reported")
    assert (second.input_tokens, second.output_tokens) == (7, 1)
    assert end.usage is not None
    assert end.usage.basis == "estimated"
    assert end.usage.input_tokens == 12


async def test_no_usage_is_unknown_not_nothing() -> None:
    end, found = await run({"m": Scripted("x")})
    (usage,) = of(found, events.UsageReport)
    assert (usage.basis, usage.input_tokens, usage.cost) == ("unknown", None, None)
    assert end.cost is None


async def test_a_provider_that_breaks_the_order_of_events_is_told_so() -> None:
    end, _ = await run({"m": Scripted([events.TextDelta(block="b9", delta="from nowhere")])})
    assert end.error is not None
    assert end.error.code == "provider-protocol"
