"""What every provider wire must keep, as checks to call on any `base.Wire` and any recorded answer.

    answer = wires.check(wire, data)        # whole, byte by byte, 200 random cuts: the same events, a legal order
    answer.text, answer.tool_calls, answer.usage, answer.end.finish_reason

`read` gives an `Answer` also for one that failed: the events before the failure, and the error. A new wire is
done when `check` passes on its recordings. Pure: no socket, no clock; the dice are seeded.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

from headrace import errors, events, messages
from headrace.protocol import assembler, lifecycle
from headrace.providers import base

CUTS = 200


class Answer:
    """What a decoder made of one answer.

    Attributes:
        events: all of them, the last one `base.ModelEnd` when the answer is complete.
        error: what was raised, if anything.
        usage, skipped: as the decoder left them.
    """

    def __init__(self, decoder: base.WireDecoder) -> None:
        self.events: list[events.Event] = []
        self.error: errors.ProviderError | None = None
        self._decoder = decoder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]

    def _key(self) -> tuple[object, ...]:
        error = self.error and (self.error.code, self.error.message)
        return self.events, error, self.usage, self.skipped

    @property
    def usage(self) -> messages.Usage | None:
        """Tokens the decoder counted."""
        return self._decoder.usage

    @property
    def skipped(self) -> int:
        """Frames the decoder did not know."""
        return self._decoder.skipped

    @property
    def end(self) -> base.ModelEnd:
        """The end of a complete answer."""
        last = self.events[-1]
        assert isinstance(last, base.ModelEnd), f"the answer does not end: {last}"
        return last

    @property
    def _assembled(self) -> assembler.Assembler:
        fold = assembler.Assembler()
        fold.add(event for event in self.events if not isinstance(event, base.ModelEnd))
        return fold

    @property
    def text(self) -> str:
        """The joined text."""
        return self._assembled.text

    @property
    def reasoning(self) -> str:
        """The joined reasoning."""
        return self._assembled.reasoning

    @property
    def tool_calls(self) -> list[messages.ToolCall]:
        """The calls for tools."""
        return self._assembled.tool_calls

    @property
    def parts(self) -> tuple[messages.Part, ...]:
        """All parts, as they would be handed back to the provider."""
        return self._assembled.parts()

    def of(self, kind: type[events.Event]) -> list[events.Event]:
        """The events of one type."""
        return [event for event in self.events if type(event) is kind]


def read(wire: base.Wire, bites: Iterable[bytes], *, close: bool = True) -> Answer:
    """Feed the bites of one answer, and the end of its bytes."""
    decoder = wire.decoder(map("b{}".format, itertools.count(1)).__next__)
    answer = Answer(decoder)
    try:
        for bite in bites:
            answer.events += decoder.feed(bite)
        if close:
            answer.events += decoder.close()
    except errors.ProviderError as error:
        answer.error = error
    return answer


def whole(wire: base.Wire, data: bytes) -> Answer:
    """Read an answer that was asked for without streaming."""
    decoder = wire.decoder(map("b{}".format, itertools.count(1)).__next__)
    answer = Answer(decoder)
    try:
        answer.events += decoder.whole(data)
    except errors.ProviderError as error:
        answer.error = error
    return answer


def cuttings(data: bytes, count: int = CUTS, seed: int = 0) -> Iterator[list[bytes]]:
    """Ways to cut the bytes: one by one, then `count` random ones of 1 to 12 cuts."""
    yield [data[i : i + 1] for i in range(len(data))]
    dice = random.Random(seed)
    for _ in range(count):
        edges = [0, *sorted(dice.randrange(len(data) + 1) for _ in range(dice.randint(1, 12))), len(data)]
        yield [data[a:b] for a, b in itertools.pairwise(edges)]


def check(wire: base.Wire, data: bytes, *, count: int = CUTS) -> Answer:
    """Check that every cut gives the same events in a legal order; return the answer.

    Raises:
        AssertionError: two cuts differ, or the order is not legal.
    """
    answer = read(wire, [data])
    check_order(answer.events, complete=answer.error is None)
    for bites in cuttings(data, count):
        other = read(wire, bites)
        assert other == answer, (
            f"cut at {[len(bite) for bite in bites][:20]}: {other._key()} != {answer._key()}"
        )
    return answer


def check_order(made: list[events.Event], *, complete: bool = True) -> None:
    """Check that events open, grow and close as a run's must, and that a complete answer leaves nothing open.

    Raises:
        AssertionError: they do not.
    """
    state = lifecycle.Lifecycle()
    state.check(events.RunStart(kind="answer", model=""))
    seen: set[str] = set()
    for at, event in enumerate(made):
        if isinstance(event, base.ModelEnd):
            assert complete, "a failed answer has an end"
            assert at == len(made) - 1, "an event after the end"
            assert not state.open, f"still open at the end: {sorted(state.open)}"
            continue
        state.check(event)
        if isinstance(event, events.TextStart | events.ReasoningStart | events.ToolCallStart):
            assert event.block, f"no block: {event}"
            assert event.block not in seen, f"block {event.block} is used twice"
            seen.add(event.block)
        assert getattr(event, "delta", None) != "", f"an empty delta: {event}"
    assert not complete or (made and isinstance(made[-1], base.ModelEnd)), "a complete answer has no end"
