"""What every wire decoder must keep to, as functions any test can call.

    for pieces in wires.cuttings(recorded, count=200):
        assert wires.decode(wire, pieces) == whole

`decode` plays pieces of an answer's bytes into a fresh decoder, as the HTTP shell does; `cuttings` cuts the
bytes whole, byte by byte and at random; `check_any_cut` holds both together, and `check_lifecycle` runs the
events through the run's own rules. No sockets here. Next: `engine`.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from headrace import errors, events
from headrace.messages import Usage
from headrace.protocol import assembler, lifecycle
from headrace.providers import base

__all__ = ["Decoded", "check_any_cut", "check_lifecycle", "cuttings", "decode"]


class Decoded(NamedTuple):
    """What came out of a decoder.

    Attributes:
        events: without the `ModelEnd`.
        end: the `ModelEnd`, where the answer was complete.
        error: code, message and details of the failure, where there was one.
        usage, skipped: the decoder's own.
    """

    events: list[events.Event]
    end: base.ModelEnd | None
    error: tuple[str, str, dict[str, Any]] | None
    usage: Usage | None
    skipped: int

    @property
    def parts(self) -> assembler.Assembler:
        """The events, assembled."""
        folded = assembler.Assembler()
        folded.add(self.events)
        return folded


def decode(wire: base.Wire, pieces: Iterable[bytes], *, whole: bool = False) -> Decoded:
    """Play the bytes of one answer into a fresh decoder of `wire`, until it ends or fails.

    Args:
        wire: the wire.
        pieces: the bytes, cut as they shall come.
        whole: the answer was asked for without streaming.
    """
    numbers = itertools.count(1)
    decoder = wire.decoder(lambda: f"b{next(numbers)}")
    out: list[events.Event] = []
    failure = None
    try:
        if whole:
            out += decoder.whole(b"".join(pieces))
        else:
            for piece in pieces:
                out += decoder.feed(piece)
                if out and isinstance(out[-1], base.ModelEnd):
                    break
                decoder.feed(b"")
            else:
                out += decoder.close()
    except errors.ProviderError as error:
        failure = (error.code, error.message, error.details)
    end = out[-1] if out and isinstance(out[-1], base.ModelEnd) else None
    if end is not None:
        out.pop()
    assert not any(isinstance(event, base.ModelEnd) for event in out), "ModelEnd is not the last event"
    return Decoded(out, end, failure, decoder.usage, decoder.skipped)


def cuttings(data: bytes, *, count: int = 200, seed: int = 0) -> Iterator[list[bytes]]:
    """The bytes byte by byte, then in `count` random ways: few cuts, and many."""
    yield [data[i : i + 1] for i in range(len(data))]
    dice = random.Random(seed)
    for _ in range(count):
        number = min(dice.choice((1, 2, 5, 20, 100)), max(1, len(data) // 2))
        at = sorted(dice.randrange(len(data) + 1) for _ in range(number))
        yield [data[a:b] for a, b in itertools.pairwise([0, *at, len(data)])]


def check_any_cut(wire: base.Wire, data: bytes, *, count: int = 200, seed: int = 0) -> Decoded:
    """Any cut of the bytes gives the same events, the same failure, the same usage.

    Returns:
        What the uncut bytes give.
    """
    expected = decode(wire, [data])
    for number, pieces in enumerate(cuttings(data, count=count, seed=seed)):
        got = decode(wire, pieces)
        assert got == expected, f"cutting {number} (seed {seed}) gives other events: {got} != {expected}"
    return expected


def check_lifecycle(decoded: Decoded) -> None:
    """The events are legal in a run, and a complete answer leaves nothing open."""
    state = lifecycle.Lifecycle()
    state.check(events.RunStart(kind="answer", model="m"))
    for event in decoded.events:
        state.check(event)
    if decoded.end is not None:
        state.check(events.RunEnd(outcome="completed"))
    else:
        for event in state.closing():
            state.check(event)
        state.check(events.RunEnd(outcome="failed"))
