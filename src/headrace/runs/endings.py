"""How a run's ending is put into words and values: its result, its error, its record as JSON.

Pure functions that the engine calls when a run ends or is asked for. Next: `engine`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace import errors, events
from headrace.ledger import base as ledger_base
from headrace.messages import Usage
from headrace.runs import plain, rounds
from headrace.runs.spec import Returned, RunInfo
from headrace.runs.writer import Writer


def info_of(record: ledger_base.RunRecord) -> RunInfo:
    """A run as JSON, from the ledger's record of it."""
    base = {
        "run": record.run,
        "kind": record.kind,
        "model": record.model,
        "status": record.status,
        "created": record.created,
        "conversation": record.conversation,
        "metadata": record.metadata,
        "outcome": record.outcome,
    }
    return msgspec.convert({**(record.summary or {}), **base}, RunInfo)


def result_of(writer: Writer, value: Any) -> Any:
    """What the run came to, as `run-end.result` has it."""
    if isinstance(value, Returned) and not value.beside:
        return value.value
    answer = writer.answer
    result: dict[str, Any] = {"text": answer.text if writer.veil is None else writer.veil.text(answer.text)}
    if answer.reasoning:
        result["reasoning"] = answer.reasoning
    if answer.output is not None:
        result["output"] = answer.output
    if calls := rounds.calls_of(answer):
        result["tool_calls"] = calls
    if isinstance(value, Returned):
        result.update(value.value)
    elif value is not None:
        result["value"] = value
    return result


def error_info(error: errors.HeadraceError | None) -> events.ErrorInfo | None:
    """The error as `run-end.error` has it."""
    if error is None:
        return None
    return events.ErrorInfo(
        code=error.code,
        message=plain.plain(error.message),
        retryable=error.retryable,
        provider_status=getattr(error, "provider_status", None),
        details=error.details or None,
    )


def interrupted() -> errors.RunError:
    """The error of a run that the process could not finish."""
    return errors.RunError("the server stopped before the answer was complete; ask again", code="interrupted")


def ahead(count: int) -> str:
    """What a waiting run's readers are told."""
    return "Waiting: next in line" if count == 0 else f"Waiting: {count} ahead"


def ms(seconds: float) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)


def no_price(provider: str, model: str, usage: Usage) -> Usage:
    """The usage as it is: no price is known."""
    return usage
