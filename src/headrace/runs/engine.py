"""The run engine: starts runs, stops them, finds them, and sees that each ends exactly once.

    start ──► ledger.begin (user fact, on disk) ──► task: [wait for a place] ──► program ──┐
                                                                                           ├─► finish
    cancel / deadline / nobody reads / drain ──► task.cancel() ─────────────────────────────┘
    finish: close what is open ► ledger.end (one ending, on disk) ► run-end ► readers see it

One task a run, owned by the engine; whoever wants it stopped says why in `stop` and cancels the task, so a
stop that races with the end finds it ended and changes nothing. `run-end` is written after the ledger has the
ending: what a reader is told is on disk. When the ledger cannot be written the run fails with
`store-unavailable`, and says so. Everything here belongs to one event loop. Next: `handle`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import msgspec
import structlog

from headrace import errors, events, ids
from headrace.ledger import base as ledger_base
from headrace.providers.base import Timeouts
from headrace.runlog import base as runlog_base
from headrace.runs import attempts, context, endings, plain
from headrace.runs.questions import NoSuchRequest, Questions
from headrace.runs.spec import Program, RunInfo, RunSpec, Status
from headrace.runs.stats import Stats
from headrace.runs.writer import Writer

log = structlog.get_logger("headrace.runs")


class ActiveRun:
    """A run of this process, queued, running or ended."""

    def __init__(self, run: str, spec: RunSpec, writer: Writer, created: datetime) -> None:
        self.run = run
        self.spec = spec
        self.writer = writer
        self.created = created
        self.status: Status = "queued"
        self.stop: tuple[events.Outcome, errors.HeadraceError | None] | None = None
        self.stop_asked = 0.0
        self.ended = asyncio.Event()
        self.begun = asyncio.Event()
        self.failure: BaseException | None = None
        self.entered = False
        self.finishing = False
        self.end: events.RunEnd | None = None
        self.task: asyncio.Task[None] | None = None
        self.watch: asyncio.TimerHandle | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.questions = Questions(writer)

    @property
    def conversation(self) -> str:
        """The conversation its facts are in: its own where none was named."""
        return self.spec.conversation or self.run

    def info(self) -> RunInfo:
        """The run as JSON."""
        spec, end = self.spec, self.end
        info = RunInfo(
            run=self.run,
            kind=spec.kind,
            model=spec.model,
            status=self.status,
            created=self.created,
            conversation=self.conversation,
            metadata=spec.metadata,
        )
        if self.writer.first_token is not None:
            info.first_token_ms = endings.ms(self.writer.first_token)
        if end is not None:
            for name in _ENDING:
                setattr(info, name, getattr(end, name))
        return info


_ENDING = (
    "outcome", "finish_reason", "result", "usage", "cost", "currency",
    "first_token_ms", "elapsed_ms", "error",
)  # fmt: skip


class Observer(Protocol):
    """Told of runs as they begin and end; must be quick. What it raises is logged and changes nothing."""

    def started(self, active: ActiveRun) -> None:
        """A run has begun; its program has not."""
        ...

    def ended(self, active: ActiveRun) -> None:
        """A run has ended; `active.info()` is complete."""
        ...


class Engine:
    """Runs, all of one process.

    Args:
        models: resolves model names to providers (`providers.registry.Registry`).
        runlog: where events go.
        ledger: where complete facts go; None keeps no record.
        price: adds what a usage costs, where that is known.
        max_running: runs that talk to providers at the same time; the rest wait, and their readers are told.
        max_queued: runs that may wait; past it a start is refused with `too-many`.
        grace_s: seconds a run with `on_disconnect="grace"` goes on without readers.
        timeouts: of provider calls, where a run has none of its own.
        max_run_chars: characters one run may write; past it the run fails with `too-large`.

    Attributes:
        observers: told of each run's beginning and end.
    """

    def __init__(
        self,
        models: attempts.Models,
        runlog: runlog_base.RunLog,
        ledger: ledger_base.Ledger | None = None,
        *,
        price: attempts.Price | None = None,
        max_running: int = 1024,
        max_queued: int = 4096,
        grace_s: float = 60.0,
        timeouts: Timeouts | None = None,
        max_run_chars: int = 16 * 1024 * 1024,
    ) -> None:
        self.models = models
        self.runlog = runlog
        self.ledger = ledger
        self.stats = Stats()
        self.observers: list[Observer] = []
        self.draining = False
        self._price = price or endings.no_price
        self._max_running = max_running
        self._max_queued = max_queued
        self._grace_s = grace_s
        self._max_run_chars = max_run_chars
        self._timeouts = timeouts or Timeouts()
        self._runs: dict[str, ActiveRun] = {}
        runlog.on_drop = self._forget
        self._keys: dict[tuple[str, str], str] = {}
        self._running = 0
        self._queue: deque[tuple[ActiveRun, asyncio.Future[None]]] = deque()

    # starting

    async def start(
        self, spec: RunSpec, program: Program = context.answer, *, models: attempts.Models | None = None
    ) -> ActiveRun:
        """Start a run; it is in the ledger when this returns. The same idempotency key gives the same run.

        Args:
            models: resolves this run's model names, instead of the engine's own.

        Raises:
            errors.UsageError: `too-many`, `bad-request`.
            errors.StoreError: the ledger could not take it; there is no run.
            errors.RunError: `interrupted`, when the engine is draining.
        """
        if self.draining:
            raise errors.RunError(
                "the server is shutting down; send it again in a moment", code="interrupted"
            )
        if self._running >= self._max_running and len(self._queue) >= self._max_queued:
            raise errors.UsageError(
                f"{self._max_queued} runs are waiting already; try again later", code="too-many"
            )
        key = (spec.owner, spec.idempotency_key) if spec.idempotency_key else None
        if key is not None and key in self._keys:
            same = self._runs[self._keys[key]]
            await same.begun.wait()
            if same.failure is not None:
                raise same.failure
            return same
        started = time.monotonic()
        run_id = ids.run_id()
        writer = Writer(
            self.runlog.create(run_id), started=started, on_gap=self.stats.gap, max_size=self._max_run_chars
        )
        active = ActiveRun(run_id, spec, writer, datetime.now(UTC))
        self._remember(active, key)
        try:
            await self._begin(active)
        except BaseException as failure:
            active.failure = failure
            self._forget(active.run)
            self.runlog.ended(active.run)  # the empty log is dropped like any other
            raise
        finally:
            active.begun.set()
        self.stats.started += 1
        self._tell("started", active)
        writer.write(events.RunStart(kind=spec.kind, model=spec.model, metadata=spec.metadata))
        writer.log.on_followers = lambda count: self._readers(active, count)
        self._readers(active, 0)
        if spec.deadline_s is not None:
            loop = asyncio.get_running_loop()
            active.deadline = loop.call_later(spec.deadline_s, self._past_deadline, active)
        active.task = asyncio.create_task(self._drive(active, program, models or self.models), name=run_id)
        return active

    async def _begin(self, active: ActiveRun) -> None:
        spec = active.spec
        if self.ledger is None or not spec.record:
            return
        record = ledger_base.RunRecord(
            run=active.run,
            conversation=active.conversation,
            owner=spec.owner,
            kind=spec.kind,
            model=spec.model,
            status=ledger_base.RUNNING,
            created=active.created,
            metadata=spec.metadata,
            idempotency_key=spec.idempotency_key,
        )
        meta: dict[str, Any] = {"model": spec.model}
        if results := spec.tool_results:
            meta["tool_results"] = plain.plain(msgspec.to_builtins(results))
        if spec.fingerprint is not None:
            meta["fingerprint"] = spec.fingerprint
        fact = await self.ledger.begin(record, plain.plain(spec.prompt), meta)
        if fact is None and spec.idempotency_key is not None:
            other = await self.ledger.run_by_key(spec.owner, spec.idempotency_key)
            raise errors.UsageError(
                f"the idempotency key {spec.idempotency_key!r} belongs to a run that was started elsewhere",
                code="bad-request",
                details={"run": other.run if other else None},
            )

    def _remember(self, active: ActiveRun, key: tuple[str, str] | None) -> None:
        self._runs[active.run] = active
        if key is not None:
            self._keys[key] = active.run

    def _forget(self, run: str) -> None:
        """The run's log is gone: its ending is in the ledger."""
        active = self._runs.pop(run, None)
        if active is not None and active.spec.idempotency_key:
            self._keys.pop((active.spec.owner, active.spec.idempotency_key), None)

    # driving

    async def _drive(self, active: ActiveRun, program: Program, models: attempts.Models) -> None:
        spec, writer = active.spec, active.writer
        caller = attempts.Caller(writer, models, self._price, on_skipped=self.stats.skipped)
        ctx = context.Context(active.run, spec, writer, caller, self._timeouts, active.questions)
        outcome: events.Outcome = "failed"
        error: errors.HeadraceError | None = None
        value: Any = None
        held = False
        active.entered = True
        try:
            if active.stop is not None:
                raise asyncio.CancelledError
            await self._place(active)
            held = True
            active.status = "running"
            value = await program(ctx)
            outcome = "completed"
        except asyncio.CancelledError:
            outcome, error = active.stop or ("interrupted", endings.interrupted())
        except errors.HeadraceError as raised:
            error = raised
        except Exception as raised:  # a fault in a program or a provider object: the run fails, we live on
            log.exception("a run failed by a fault in the program", run=active.run)
            error = errors.RunError(f"{type(raised).__name__}: {raised}", code="interrupted", retryable=False)
        finally:
            if held:
                self._give_place()
        if active.stop is not None:
            self.stats.stopped(time.monotonic() - active.stop_asked)
        await self._finish(active, ctx, caller, outcome, error, ctx.value if value is None else value)

    async def _place(self, active: ActiveRun) -> None:
        """Wait for one of the places; readers see how many are ahead."""
        if self._running < self._max_running and not self._queue:
            self._running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        item = (active, turn)
        self._queue.append(item)
        active.writer.write(events.Status(message=endings.ahead(len(self._queue) - 1)))
        try:
            await turn
        except asyncio.CancelledError:
            if item in self._queue:
                self._queue.remove(item)
            elif not turn.cancelled():
                self._give_place()
            raise
        active.writer.write(events.Status(message="Starting"))

    def _give_place(self) -> None:
        self._running -= 1
        while self._queue and self._running < self._max_running:
            turn = self._queue.popleft()[1]
            if not turn.done():
                self._running += 1
                turn.set_result(None)
                for place, (other, _) in enumerate(self._queue):
                    if place < 20 or place % 50 == 0:
                        other.writer.write(events.Status(message=endings.ahead(place)))

    async def _finish(
        self,
        active: ActiveRun,
        ctx: context.Context,
        caller: attempts.Caller,
        outcome: events.Outcome,
        error: errors.HeadraceError | None,
        value: Any,
    ) -> None:
        """Write the one ending: close what is open, the ledger, then `run-end`."""
        active.finishing = True
        writer, spec = active.writer, active.spec
        for timer in (active.watch, active.deadline):
            if timer is not None:
                timer.cancel()
        writer.close_open()
        answer = writer.answer
        end = events.RunEnd(
            outcome=outcome,
            finish_reason=ctx.finish_reason if outcome == "completed" else None,
            result=endings.result_of(writer, value),
            usage=caller.usage,
            cost=caller.usage.cost if caller.usage else None,
            currency=caller.usage.currency if caller.usage else None,
            first_token_ms=None if writer.first_token is None else endings.ms(writer.first_token),
            elapsed_ms=endings.ms(time.monotonic() - writer.started),
            error=endings.error_info(error),
        )
        if self.ledger is not None and spec.record:
            try:
                await self._record(active, end, answer.text, ctx.meta)
            except errors.HeadraceError as failed:
                log.error("the ledger could not take an ending", run=active.run, error=failed.message)
                end.outcome, end.error = "failed", endings.error_info(failed)
                end.finish_reason = None
        active.end = end
        active.status = "ended"
        writer.write(end)
        writer.release()
        self.runlog.ended(active.run)
        self.stats.ended(active.info(), spec)
        self._tell("ended", active)
        active.ended.set()

    def _tell(self, what: Literal["started", "ended"], active: ActiveRun) -> None:
        for observer in self.observers:
            try:
                getattr(observer, what)(active)
            except Exception:  # an observer is not part of the run
                log.exception("an observer failed", run=active.run, observer=type(observer).__name__)

    async def _record(self, active: ActiveRun, end: events.RunEnd, text: str, more: dict[str, Any]) -> None:
        assert self.ledger is not None
        info = active.info()
        info.status = "ended"
        for name in _ENDING:
            setattr(info, name, getattr(end, name))
        summary = msgspec.to_builtins(info)
        meta = {
            **more,
            "model": active.spec.model,
            "finish_reason": end.finish_reason,
            "outcome": end.outcome,
        }
        if end.usage is not None:
            meta["usage"] = msgspec.to_builtins(end.usage)
        kind = ledger_base.RESPONSE
        if end.outcome != "completed":
            kind, text = ledger_base.GENERATION_ENDED, ""
            summary["result"] = None  # the ledger never holds a partial answer
            if end.error is not None:
                meta["reason"] = end.error.code
        fact = await self.ledger.end(active.run, kind, text, meta, outcome=end.outcome, summary=summary)
        if fact.kind != kind or fact.meta.get("outcome") != end.outcome:
            # Another process took this one for dead and has ended the run; its word is on disk.
            end.outcome = fact.meta.get("outcome", ledger_base.INTERRUPTED)
            end.error = end.error or endings.error_info(endings.interrupted())

    # stopping

    async def cancel(self, run: str) -> RunInfo:
        """Stop a run; returns its ending. Of an ended run: changes nothing, returns the ending it had.

        Raises:
            errors.ReadError: `run-not-found`; also for a run that goes on in another process of the same ledger.
        """
        active = self._runs.get(run)
        if active is None:
            found = await self.info(run)
            if found.status != "ended":
                raise errors.ReadError(
                    f"the run {run!r} is not in this process; stop it where it was started (that of a process which "
                    "died is closed by the next start)",
                    code="run-not-found",
                )
            return found
        await active.begun.wait()
        if active.failure is not None:
            raise active.failure
        self._stop(active, "cancelled", None)
        await active.ended.wait()
        return active.info()

    async def respond(self, run: str, request: str, value: Any) -> None:
        """Answer a question that a run has for a person (`human-request`); each is answered once.

        Args:
            value: a JSON value, or what has a JSON form.

        Raises:
            errors.ReadError: `run-not-found`.
            questions.NoSuchRequest: the run has no such open question.
            errors.UsageError: `bad-request`: that is no answer to it.
        """
        active = self._runs.get(run)
        if active is None:
            await self.info(run)
            raise NoSuchRequest(
                f"the run {run} has no open question {request[:80]!r}: it has ended", code="bad-request"
            )
        await active.questions.answer(request, plain.plain(value))

    def _stop(self, active: ActiveRun, outcome: events.Outcome, error: errors.HeadraceError | None) -> None:
        if active.stop is not None or active.finishing or active.status == "ended":
            return
        active.stop = (outcome, error)
        active.stop_asked = time.monotonic()
        # A task that is cancelled before its first step never runs at all; `_drive` looks at `stop` itself.
        if active.task is not None and active.entered:
            active.task.cancel()

    def _readers(self, active: ActiveRun, count: int) -> None:
        """The number of attached readers has changed: the run's policy for being alone."""
        if active.status == "ended":
            return
        if active.watch is not None:
            active.watch.cancel()
            active.watch = None
        policy = active.spec.on_disconnect
        if count or policy == "continue":
            return
        if policy == "cancel" and active.status == "running":
            self._stop(active, "cancelled", None)
            return
        grace = self._grace_s if active.spec.grace_s is None else active.spec.grace_s
        active.watch = asyncio.get_running_loop().call_later(grace, self._alone, active)

    def _alone(self, active: ActiveRun) -> None:
        self._stop(active, "cancelled", None)

    def _past_deadline(self, active: ActiveRun) -> None:
        seconds = active.spec.deadline_s
        self._stop(active, "failed", errors.RunError(f"not done within {seconds:g} s", code="deadline"))

    async def drain(self, grace: float) -> None:
        """Take no more runs; give those there are `grace` seconds; interrupt the rest."""
        self.draining = True
        tasks = [a.task for a in self._runs.values() if a.task is not None and not a.task.done()]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        left = [active for active in self._runs.values() if active.status != "ended"]
        for active in left:
            self._stop(active, "interrupted", endings.interrupted())
        for active in left:
            if active.task is not None:
                await active.ended.wait()

    # finding

    def active(self, run: str) -> ActiveRun | None:
        """The run, if this process has it."""
        return self._runs.get(run)

    def all_active(self) -> list[ActiveRun]:
        """Runs of this process, oldest first."""
        return list(self._runs.values())

    @property
    def running(self) -> int:
        """Runs that talk to a provider now."""
        return self._running

    @property
    def queued(self) -> int:
        """Runs that wait for a place."""
        return len(self._queue)

    async def info(self, run: str, *, owner: str | None = None) -> RunInfo:
        """A run of this process or of the ledger.

        Args:
            owner: only a run of this owner is found; None finds any.

        Raises:
            errors.ReadError: `run-not-found`; also for somebody else's run, so that nobody learns of it.
        """
        active = self._runs.get(run)
        if active is not None:
            if owner is None or active.spec.owner == owner:
                return active.info()
        elif self.ledger is not None:
            record = await self.ledger.run(run)
            if record is not None and (owner is None or record.owner == owner):
                return endings.info_of(record)
        raise errors.ReadError(f"there is no run {run[:80]!r}", code="run-not-found")

    async def list(self, *, owner: str | None, before: str | None = None, limit: int = 50) -> list[RunInfo]:
        """Runs, newest first, those older than `before`."""
        found: dict[str, RunInfo] = {}
        if self.ledger is not None:
            for record in await self.ledger.runs(owner=owner, before=before, limit=limit):
                found[record.run] = endings.info_of(record)
        for active in reversed(self._runs.values()):
            if (owner is None or active.spec.owner == owner) and (before is None or active.run < before):
                found[active.run] = active.info()
        return [found[run] for run in sorted(found, reverse=True)[:limit]]

    async def by_key(self, owner: str, key: str) -> RunInfo | None:
        """The run an idempotency key belongs to, if there is one."""
        run = self._keys.get((owner, key))
        if run is not None:
            return self._runs[run].info()
        if self.ledger is not None:
            record = await self.ledger.run_by_key(owner, key)
            if record is not None:
                return endings.info_of(record)
        return None

    async def close(self) -> None:
        """Interrupt what runs, then close the providers, the logs and the ledger."""
        await self.drain(0)
        await self.models.close()
        await self.runlog.close()
        if self.ledger is not None:
            await self.ledger.close()
