"""What can happen in a run: one msgspec struct a type, tagged by `type`; values only.

Noun first, start / delta / end. `run`, `seq` and `time` are empty until the run log's writer fills them
in: a provider's decoder makes an event once and nobody copies it on its way out. `from_seq` is set only
on a merged delta and says which seq is the first in it (`from` on the wire). A field at its default is
left out of the JSON. Structs do not take part in garbage collection (`gc=False`): they hold JSON values,
which have no cycles. Next: `codec`, their JSON.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from headrace.messages import Basis, Usage

Outcome: TypeAlias = Literal["completed", "failed", "cancelled", "interrupted"]
RunKind: TypeAlias = Literal["answer", "chat", "template", "procedure", "module", "batch"]
SpanKind: TypeAlias = Literal["step", "slot", "agent", "predictor", "tool", "trace"]
ResetReason: TypeAlias = Literal["retry", "failover", "validation", "early-reject"]


class Event(
    msgspec.Struct, tag_field="type", kw_only=True, omit_defaults=True, gc=False, forbid_unknown_fields=True
):
    """Base of all events.

    Attributes:
        run: the run's id.
        seq: position in the run, from 1, without gaps.
        time: when it was written to the run log, UTC.
        span: the span it belongs to, absent for the run itself.
        extra: keys this version does not know, kept for re-encoding; never on the wire under this name.
    """

    run: str = ""
    seq: int = 0
    time: datetime | None = None
    span: str = ""
    extra: dict[str, Any] | None = msgspec.field(default=None, name="$extra")

    @property
    def type(self) -> str:
        """The event's tag, such as `text-delta`."""
        return str(type(self).__struct_config__.tag)


class RunStart(Event, tag="run-start"):
    """The first event of a run."""

    kind: RunKind
    model: str
    metadata: dict[str, Any] = {}


class ErrorInfo(msgspec.Struct, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Why a run failed, as `run-end.error` has it; `code` is one of `errors.CODES`."""

    code: str
    message: str
    retryable: bool | None = None
    provider_status: int | None = None
    span: str | None = None
    details: dict[str, Any] | None = None


class RunEnd(Event, tag="run-end"):
    """The last event of a run, exactly once."""

    outcome: Outcome
    finish_reason: str | None = None
    result: Any = None
    usage: Usage | None = None
    cost: float | None = None
    currency: str | None = None
    first_token_ms: float | None = None
    elapsed_ms: float | None = None
    error: ErrorInfo | None = None


class SpanStart(Event, tag="span-start"):
    """A named part of the run begins."""

    kind: str
    parent: str = ""
    name: str = ""
    attributes: dict[str, Any] = {}


class SpanEnd(Event, tag="span-end"):
    """A span ends, with its value where it has one."""

    outcome: Outcome
    value: Any = None
    elapsed_ms: float | None = None
    cached: bool = False


class AttemptStart(Event, tag="attempt-start"):
    """One call to a provider begins; `attempt` counts from 1 in the run."""

    attempt: int
    provider: str
    model: str


class AttemptEnd(Event, tag="attempt-end"):
    """The call ended; `reason` is an error code or a finish reason."""

    attempt: int
    outcome: Outcome
    reason: str | None = None


class TextStart(Event, tag="text-start"):
    """A block of text opens."""

    block: str


class TextDelta(Event, tag="text-delta"):
    """More text of an open block."""

    block: str
    delta: str
    from_seq: int | None = msgspec.field(default=None, name="from")


class TextEnd(Event, tag="text-end"):
    """The block is closed; the text is what was sent."""

    block: str


class ReasoningStart(Event, tag="reasoning-start"):
    """A block of reasoning opens."""

    block: str


class ReasoningDelta(Event, tag="reasoning-delta"):
    """More reasoning of an open block."""

    block: str
    delta: str
    from_seq: int | None = msgspec.field(default=None, name="from")


class ReasoningEnd(Event, tag="reasoning-end"):
    """The block is closed, with the provider's signature or encrypted form where it gave one."""

    block: str
    signature: str | None = None
    encrypted: str | None = None


class ToolCallStart(Event, tag="tool-call-start"):
    """The model begins to ask for a tool. `block` orders it among the run's blocks.

    `by` says who runs it, where that is known: `run` (its result comes in this run) or `caller`.
    """

    call: str
    name: str
    block: str = ""
    by: Literal["run", "caller"] | None = None


class ToolCallDelta(Event, tag="tool-call-delta"):
    """More JSON text of the call's arguments."""

    call: str
    delta: str
    block: str = ""
    from_seq: int | None = msgspec.field(default=None, name="from")


class ToolCallEnd(Event, tag="tool-call-end"):
    """The arguments are complete; `arguments` is the parsed JSON (the text itself where it is not JSON)."""

    call: str
    arguments: Any = None
    block: str = ""
    signature: str | None = None


class ToolResult(Event, tag="tool-result"):
    """A tool answered; `preliminary` results are followed by another."""

    call: str
    value: Any = None
    error: str | None = None
    elapsed_ms: float | None = None
    preliminary: bool = False


class FieldStart(Event, tag="field-start"):
    """A named value inside structured output begins; `path` is a JSON Pointer (RFC 6901)."""

    path: str


class FieldDelta(Event, tag="field-delta"):
    """More text of a field; `index` counts from 0 per field (of the first delta in a merged one)."""

    path: str
    delta: str
    index: int
    from_seq: int | None = msgspec.field(default=None, name="from")


class FieldEnd(Event, tag="field-end"):
    """The field is complete, typed; `cut` where the answer broke off inside it: then there is no value."""

    path: str
    value: Any = None
    cut: bool = False


class Output(Event, tag="output"):
    """The validated structured answer."""

    value: Any = None


class OutputReset(Event, tag="output-reset"):
    """What these blocks showed is taken back."""

    blocks: list[str]
    reason: str


class UsageReport(Event, tag="usage"):
    """Tokens and cost of one attempt; absent is unknown."""

    basis: Basis
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None


class HumanRequest(Event, tag="human-request"):
    """The run waits for a person."""

    request: str
    kind: str
    message: str = ""
    options: list[Any] | None = None
    default: Any = None
    deadline: datetime | None = None


class HumanResponse(Event, tag="human-response"):
    """A person answered."""

    request: str
    value: Any = None


class Checkpoint(Event, tag="checkpoint"):
    """Everything before this is done and kept."""

    index: int
    name: str = ""
    results: Any = None


class Source(Event, tag="source"):
    """A citation the model gave."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    block: str = ""


class File(Event, tag="file"):
    """A file the model produced: a URL (also `data:`), its media type and name."""

    url: str
    media_type: str | None = None
    name: str | None = None


class Custom(Event, tag="custom"):
    """Anything of an application's own."""

    name: str
    data: Any = None


class Status(Event, tag="status"):
    """What the run is waiting for or doing, in words."""

    message: str


class Unknown(Event, tag="unknown"):
    """An event of a type this version does not know; `extra` has all of its own keys."""

    kind: str = ""

    @property
    def type(self) -> str:
        """The tag it came with."""
        return self.kind


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | FieldDelta
DELTAS: tuple[type[Event], ...] = (TextDelta, ReasoningDelta, ToolCallDelta, FieldDelta)
KNOWN: tuple[type[Event], ...] = (
    RunStart, RunEnd, SpanStart, SpanEnd, AttemptStart, AttemptEnd,
    TextStart, TextDelta, TextEnd, ReasoningStart, ReasoningDelta, ReasoningEnd,
    ToolCallStart, ToolCallDelta, ToolCallEnd, ToolResult, FieldStart, FieldDelta, FieldEnd,
    Output, OutputReset, UsageReport, HumanRequest, HumanResponse, Checkpoint,
    Source, File, Custom, Status,
)  # fmt: skip
