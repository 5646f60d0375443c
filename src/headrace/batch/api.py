"""Rows through a template: workers that share one limit on calls, a stream of what happens, and a report.

Each row is a run of its own. As many rows are at work as calls are allowed at the same time; the calls of their
segments and `<together>` blocks wait for places at the same gate, and a place is held only while a provider is
asked, so the limit is never passed and nothing waits for ever. A row that fails is marked and the others go on.
What nobody reads is not made: events wait in a queue of `QUEUE`, and full, it holds the workers up.
Next: `agreement`.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal

import msgspec

from headrace import errors, events
from headrace.batch import agreement
from headrace.batch import journal as journals
from headrace.batch import rows as reading
from headrace.messages import Usage
from headrace.runs import api as runs_api
from headrace.runs import engine as engines
from headrace.runs import sync
from headrace.templates import caching, faults, options
from headrace.templates import plan as plans
from headrace.templates import run as running
from headrace.templates.api import CONCURRENCY, Template
from headrace.templates.values import Value

QUEUE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStarted:
    """A row is being asked."""

    type: ClassVar[Literal["started"]] = "started"
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowValue:
    """Something of a row that is being asked: a token, a finished slot, …"""

    type: ClassVar[Literal["value"]] = "value"
    index: int
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDone:
    """A row has come to its end.

    Attributes:
        index: its number, from 0.
        inputs: as it was read.
        values: slot to value; of a row that failed, those that were done before.
        error: why it failed; None where it did not.
        usage: tokens and cost; None where nothing was asked, or nothing is known.
        cost: None is not known; 0 where nothing had to be asked.
        elapsed_ms: milliseconds.
        resumed: an earlier process had done it.
    """

    type: ClassVar[Literal["row"]] = "row"
    index: int
    inputs: Mapping[str, Any]
    values: dict[str, Any]
    error: errors.HeadraceError | None = None
    usage: Usage | None = None
    cost: float | None = None
    elapsed_ms: float = 0.0
    resumed: bool = False
    early_termination: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDone:
    """All rows have come to their ends."""

    type: ClassVar[Literal["done"]] = "done"
    report: Report


Event = RowStarted | RowValue | RowDone | BatchDone


@dataclass(slots=True, kw_only=True)
class Report:
    """What a batch came to, so far.

    Attributes:
        rows: those that have ended, in their order.
        total: how many there are to do.
        left: rows of the input that were left out (`head`).
        elapsed_s: seconds.
    """

    rows: list[RowDone] = field(default_factory=list)
    total: int = 0
    left: int = 0
    elapsed_s: float = 0.0
    slots: Sequence[str] = ()
    plan: plans.Plan | None = None

    @property
    def failed(self) -> list[RowDone]:
        """Rows that failed."""
        return [row for row in self.rows if row.error is not None]

    @property
    def usage(self) -> Usage | None:
        """All tokens and costs; a cost that is unknown in one row is unknown here."""
        total: Usage | None = None
        for row in self.rows:
            if row.usage is not None:
                total = row.usage if total is None else total + row.usage
        return total

    @property
    def cost(self) -> float | None:
        """What all rows cost; None where the cost of one is not known."""
        costs = [row.cost for row in self.rows]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    @property
    def known_cost(self) -> float:
        """What the rows cost of which it is known."""
        return sum(row.cost for row in self.rows if row.cost is not None)

    def projected(self) -> float | None:
        """What the whole input would cost, from the rows that were done; None where that is not known."""
        asked = [row for row in self.rows if row.error is None]
        if not asked or any(row.cost is None for row in asked):
            return None
        mean = sum(row.cost or 0.0 for row in asked) / len(asked)
        return mean * (self.total + self.left)

    def table(self, *, keep: bool = False) -> list[dict[str, Any]]:
        """The rows to write: the slots, and `error`.

        Args:
            keep: the columns of the input too; one of a slot's name is then called `NAME_input`.
        """
        found = []
        for row in self.rows:
            one: dict[str, Any] = {}
            if keep:
                for name, value in row.inputs.items():
                    one[f"{name}_input" if name in self.slots or name == "error" else name] = value
            for slot in self.slots:
                one[slot] = row.values.get(slot)
            one["error"] = None if row.error is None else f"{row.error.code}: {row.error.message}"
            found.append(one)
        return found

    def compare(self, column: str) -> agreement.Comparison:
        """How well a slot agrees with a column of the input.

        Args:
            column: the column, which is compared with the slot of its name, or with the only slot there is;
                or `SLOT=COLUMN`.

        Raises:
            errors.UsageError: `bad-request`: there is no such slot or column.
        """
        slot, column = compared(column, self.slots, [row.inputs for row in self.rows])
        pairs: list[tuple[str, str | None]] = []
        for row in self.rows:
            right = row.inputs.get(column)
            if right is None or right == "":
                continue  # nothing to compare with
            value = None if row.error is not None else row.values.get(slot)
            answer = None if value is None else self._label(slot, value)
            pairs.append((self._label(slot, right), answer))
        return agreement.compare(pairs, slot=slot, column=column)

    def _label(self, slot: str, value: Any) -> str:
        """A value as the slot's type reads it, where it can: `yes` in the column is true."""
        for one in self.plan.slots if self.plan is not None else ():
            if one.key == slot and self.plan is not None and not one.listed:
                kind = self.plan.types[one.type]
                try:
                    return agreement.label(kind.convert(value, kind.options(one, {})))
                except (ValueError, TypeError, errors.HeadraceError):
                    break
        return agreement.label(value)


def compared(column: str, slots: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The slot and the column that `--compare` names."""
    slot, mark, name = column.partition("=")
    if not mark:
        name = column
        slot = column if column in slots else slots[0] if len(slots) == 1 else ""
    if slot not in slots:
        raise errors.UsageError(
            f"there is no slot {slot or column!r} to compare{faults.meant(slot or column, slots)}; "
            f"write SLOT=COLUMN, with one of {', '.join(slots)}",
            code="bad-request",
        )
    if not any(name in row for row in rows):
        known = list(dict.fromkeys(key for row in rows for key in row))
        raise errors.UsageError(
            f"there is no column {name!r} to compare with{faults.meant(name, known)}; there are {', '.join(known)}",
            code="bad-request",
        )
    return slot, name


class Batch:
    """A template, a model, and how many calls at the same time.

    Args:
        template: a `Template`, or what one is made of (a text, or a path).
        model: a name, or any object that `headrace.stream` takes.
        concurrency: calls to providers at the same time, over rows, segments and `<together>` blocks.
        inputs: values that all rows share; a row's own column of that name is stronger.
        strict: a variable without a value fails its row, instead of being empty.
        cache: as for `Template.stream`.
        engine: instead of the library's own.
        options: as for `headrace.stream`: `temperature`, `fallbacks`, `timeouts`, …

    Raises:
        faults.TemplateError: with everything that is wrong with the template.
        errors.UsageError: `bad-request`.
    """

    def __init__(
        self,
        template: Template | str | Path,
        model: str | object,
        *,
        concurrency: int = CONCURRENCY,
        inputs: Mapping[str, Any] | None = None,
        strict: bool = False,
        cache: bool | caching.Cache = True,
        engine: engines.Engine | None = None,
        **options: Any,
    ) -> None:
        if concurrency < 1:
            raise errors.UsageError("concurrency must be 1 or more", code="bad-request")
        self.template = template if isinstance(template, Template) else Template(template)
        self.model = model
        self.concurrency = concurrency
        self.inputs = dict(inputs or {})
        self.strict = strict
        self.cache = cache
        self.engine = engine
        self.options = options
        self.slots = list(dict.fromkeys(slot.key for slot in self.template.plan.slots))

    def missing(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Variables of the template that no row has."""
        known = {name for row in rows for name in reading.variables(row)} | set(self.inputs)
        return [name for name in self.template.plan.variables if name not in known]

    def fingerprint(self) -> str:
        """Stands for everything but the rows: a journal of another one cannot be gone on with.

        That is the template with its includes, its types of one's own and functions (as they are written), model,
        shared inputs and options; not what functions and actions look at, such as files and pages.
        """
        asked = self.model if isinstance(self.model, str) else f"object:{type(self.model).__name__}"
        kinds = self.template.plan.types
        return journals.fingerprint(
            template=self.template.flat(),
            types={
                name: [kind.schema(options.Options()), _written(kind.annotation)]
                for name, kind in kinds.items()
                if kind.annotation is not None
            },
            functions={name: _written(one.call) for name, one in self.template.functions.items()},
            model=asked,
            inputs=self.inputs,
            options=self.options,
        )

    def stream(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        head: int | None = None,
        journal: str | Path | None = None,
        resume: bool = False,
        values: bool = False,
    ) -> BatchRun:
        """Ask all rows and stream what happens.

        Args:
            rows: mappings of column to value; `headrace.batch.read` gives those of files.
            head: only that many of them, the first ones.
            journal: a file that notes what was answered; it is gone once every row of the input is done.
            resume: go on where that file ends, and pay for nothing twice.
            values: tokens and finished slots too, as `RowValue`.

        Returns:
            An async context manager; iterate over it. Leaving it early stops all rows.
        """
        found = [dict(row) for row in rows]
        return BatchRun(self, found, head, journal, resume, values)

    async def run(self, rows: Iterable[Mapping[str, Any]], **how: Any) -> Report:
        """Ask all rows and wait for the last; arguments as for `stream`. Rows that failed do not raise."""
        async with self.stream(rows, **how) as run:
            async for _ in run:
                pass
            return run.report()

    def run_sync(self, rows: Iterable[Mapping[str, Any]], **how: Any) -> Report:
        """`run` without async."""
        return sync.call(self.run(rows, **how))

    def stream_sync(self, rows: Iterable[Mapping[str, Any]], **how: Any) -> SyncBatchRun:
        """`stream` without async: iterate over it, live."""
        return SyncBatchRun(self.stream(rows, **how))


class BatchRun:
    """A batch at work. See `Batch.stream`."""

    def __init__(
        self,
        batch: Batch,
        rows: list[dict[str, Any]],
        head: int | None,
        journal: str | Path | None,
        resume: bool,
        values: bool,
    ) -> None:
        self._batch = batch
        self._rows = rows if head is None else rows[:head]
        self._left = len(rows) - len(self._rows)
        self._keys = journals.row_keys(self._rows)
        self._path = journal
        self._resume = resume
        self._values = values
        self._journal: journals.Journal | None = None
        self._done: dict[int, RowDone] = {}
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE)
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0

    def report(self) -> Report:
        """What it came to, so far."""
        return Report(
            rows=[self._done[index] for index in sorted(self._done)],
            total=len(self._rows),
            left=self._left,
            elapsed_s=time.monotonic() - self._began if self._began else 0.0,
            slots=self._batch.slots,
            plan=self._batch.template.plan,
        )

    async def __aenter__(self) -> BatchRun:
        """Open the journal and begin.

        Raises:
            errors.UsageError, errors.StoreError: see `journal.Journal`.
        """
        if self._path is not None:
            self._journal = journals.Journal(self._path, self._batch.fingerprint(), resume=self._resume)
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._journal is not None:
            self._journal.close()
            if not self._left and len(self._done) == len(self._rows) and not self.report().failed:
                self._journal.remove()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """What happens, as it happens; `BatchDone` is the last.

        Raises:
            errors.StoreError: the journal or the cache cannot be written; nothing more is asked.
        """
        while (event := await self._queue.get()) is not None:
            yield event
        if self._task is not None:
            await self._task
        yield BatchDone(report=self.report())

    async def _work(self) -> None:
        todo = iter(range(len(self._rows)))
        gate = asyncio.Semaphore(self._batch.concurrency)
        engine = self._batch.engine or runs_api.default_engine()

        async def worker() -> None:
            for index in todo:
                await self._row(index, gate, engine)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._batch.concurrency, len(self._rows))):
                    group.create_task(worker())
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        finally:
            if not self._stopped():
                await self._queue.put(None)

    def _stopped(self) -> bool:
        """Whether nobody reads any more."""
        return self._task is None

    async def _row(self, index: int, gate: asyncio.Semaphore, engine: engines.Engine) -> None:
        row, key = self._rows[index], self._keys[index]
        before = self._journal.done.get(key) if self._journal is not None else None
        if before is not None:
            await self._end(self._restored(index, before), None)
            return
        await self._queue.put(RowStarted(index=index))
        batch, began = self._batch, time.monotonic()
        answers = self._journal.answers(key) if self._journal is not None else None
        inputs = {**batch.inputs, **reading.variables(row)}
        error: errors.HeadraceError | None = None
        values: dict[str, Any] = {}
        usage, asked, early = None, 0, False
        try:
            async with batch.template.stream(
                batch.model,
                inputs,
                engine=engine,
                strict=batch.strict,
                cache=batch.cache,
                gate=gate,
                earlier=answers,
                **{"metadata": {"row": index}, **batch.options},
            ) as run:
                if self._values:
                    async for value in run.values():
                        await self._queue.put(RowValue(index=index, value=value))
                await run._active.ended.wait()
                execution, end = run.execution, run._end()
                values, early = dict(execution.values), execution.early
                usage, asked = end.usage, sum(one.attempts for one in execution.asked)
                error = _error(end)
        except errors.HeadraceError as failed:
            error = failed
        if isinstance(error, errors.StoreError):
            raise error  # what is paid for could not be noted
        if answers is not None and answers.paid is not None:
            usage = answers.paid if usage is None else usage + answers.paid
        nothing = usage is None and not asked and error is None
        done = RowDone(
            index=index,
            inputs=row,
            values=values,
            error=error,
            usage=usage,
            cost=0.0 if nothing else usage.cost if usage is not None else None,
            elapsed_ms=round((time.monotonic() - began) * 1000, 3),
            early_termination=early,
        )
        await self._end(done, key)

    async def _end(self, done: RowDone, key: str | None) -> None:
        if key is not None and self._journal is not None and done.error is None:
            self._journal.finish(
                key,
                {
                    "values": done.values,
                    "usage": None if done.usage is None else msgspec.to_builtins(done.usage),
                    "cost": done.cost,
                    "elapsed_ms": done.elapsed_ms,
                    "early_termination": done.early_termination,
                },
            )
        self._done[done.index] = done
        await self._queue.put(done)

    def _restored(self, index: int, done: dict[str, Any]) -> RowDone:
        """A row that an earlier process had done."""
        row = self._rows[index]
        scope = {**self._batch.inputs, **reading.variables(row)}
        return RowDone(
            index=index,
            inputs=row,
            values=_python(self._batch.template.plan, done["values"], scope),
            usage=None if done["usage"] is None else msgspec.convert(done["usage"], Usage),
            cost=done["cost"],
            elapsed_ms=done["elapsed_ms"],
            early_termination=done["early_termination"],
            resumed=True,
        )


def _python(plan: plans.Plan, values: dict[str, Any], scope: Mapping[str, Any]) -> dict[str, Any]:
    """Values as their slots give them, from what JSON has; what its type does not take stays as it is."""
    slots = {slot.key: slot for slot in plan.slots}
    looped = running.looped(plan)
    found = dict(values)
    for key, value in values.items():
        if (slot := slots.get(key)) is None:
            continue
        kind = plan.types[slot.type]

        def one(raw: Any, depth: int, kind: Any = kind, slot: Any = slot) -> Any:
            if depth:
                return [one(item, depth - 1) for item in raw]
            return None if raw is None else kind.convert(raw, kind.options(slot, {**scope, **values}))

        try:
            found[key] = None if value is None else one(value, slot.listed + (key in looped))
        except (ValueError, TypeError, errors.HeadraceError):
            continue  # a choice that stood in a loop's variable, say
    return found


def _written(what: Any) -> str:
    """How a function or a class is written; its name where that is not known."""
    try:
        return inspect.getsource(what)
    except (OSError, TypeError):
        return f"{getattr(what, '__module__', '')}.{getattr(what, '__qualname__', type(what).__name__)}"


def _error(end: events.RunEnd) -> errors.HeadraceError | None:
    """Why a run did not complete."""
    if end.outcome == "completed":
        return None
    if end.error is None:
        return errors.RunError("the row's run was stopped", code="interrupted")
    info = end.error
    return errors.error_for(info.code, info.message, retryable=info.retryable, details=info.details)


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = failed
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class SyncBatchRun:
    """A batch at work, for blocking code. See `Batch.stream_sync`."""

    def __init__(self, run: BatchRun) -> None:
        self._run = run

    def report(self) -> Report:
        """What it came to, so far."""
        return self._run.report()

    def __iter__(self) -> Iterator[Event]:
        """What happens, live. Leaving the loop early stops all rows."""
        sync.call(self._run.__aenter__())
        source = self._run.__aiter__()
        nothing = object()
        try:
            while (event := sync.call(_next(source, nothing))) is not nothing:
                yield event
        finally:
            sync.call(self._run.__aexit__(None, None, None))


async def _next(source: AsyncIterator[Event], nothing: object) -> Any:
    return await anext(source, nothing)
