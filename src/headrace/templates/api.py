"""The door: `Template`, its runs, and what they come to.

    template = headrace.Template("Write a title for: {{ story }} [[title]] [[pick:mood|happy,sad]]")
    result = await template.run("openai:gpt-4o-mini", {"story": story})
    result["title"], result["mood"]

A template is parsed and checked once, when it is made; it may then be run any number of times, also at the same
time. The blocking twins run the same code on the background loop of `runs.sync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from headrace import errors, events
from headrace.messages import Usage
from headrace.runs import api as runs_api
from headrace.runs import engine as engines
from headrace.runs import handle, sync
from headrace.templates import actions, caching, faults, parser, syntax
from headrace.templates import models as models_module
from headrace.templates import plan as plans
from headrace.templates.asking import Asked, How
from headrace.templates.run import Execution
from headrace.templates.values import Reader, Value

CONCURRENCY = 8
"""Calls at the same time, where nothing else is said."""
SUFFIXES = (".hr.md", ".sd")

_kept = caching.Cache()
"""The cache in memory that all templates of the process share."""


class Results(dict[str, Any]):
    """Slot to value, and what is known of the run.

    Attributes:
        slots: every answered slot, in the order they ended: prompt, messages, usage, timings, …
        early_termination: whether the run ended before the template did (`@break`, `stop_at`).
        usage: tokens and cost of all calls; None where there were none or nothing is known.
        elapsed_ms: from the start of the run to its end, milliseconds.
        run: the run's id.
    """

    def __init__(
        self,
        found: Mapping[str, Any],
        *,
        run: str = "",
        slots: Sequence[Asked] = (),
        early_termination: bool = False,
        usage: Usage | None = None,
        elapsed_ms: float | None = None,
    ) -> None:
        super().__init__(found)
        self.run = run
        self.slots = list(slots)
        self.early_termination = early_termination
        self.usage = usage
        self.elapsed_ms = elapsed_ms

    def slot(self, key: str) -> Asked:
        """What is known of a slot; of one in a loop, of its last turn.

        Raises:
            KeyError: it was not asked.
        """
        for asked in reversed(self.slots):
            if asked.key == key:
                return asked
        raise KeyError(key)


@dataclass(slots=True, kw_only=True)
class Checked:
    """What `Template.check` found.

    Attributes:
        slots: the slots, in order.
        variables: what the template wants from outside.
        errors: faults (of the inputs, where some were given).
    """

    slots: list[syntax.Slot]
    variables: list[str]
    errors: list[faults.Fault] = field(default_factory=list)


class Template:
    """A template, parsed and checked.

    Args:
        source: the text; or a path to it (a `Path`, or a text in one line that ends in `.hr.md` or `.sd`).
        models: Pydantic models, by the name that slots use.
        functions: what `[[@name]]` calls: functions, or `actions.Function` with a role and what to do on errors.
        include_paths: where includes are searched after the folder of the template.
        files: False refuses all that touches files: includes and types in files. A text from elsewhere.
        outside: whether actions may read files and the network (`@fetch`, `@evidence`); default: as `files`.

    Raises:
        faults.TemplateError: with everything that is wrong.
        errors.UsageError: the file cannot be read.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        models: Mapping[str, type[Any]] | None = None,
        functions: Mapping[str, Callable[..., Any] | actions.Function] | None = None,
        include_paths: Sequence[str | Path] = (),
        files: bool = True,
        outside: bool | None = None,
    ) -> None:
        file = "<template>"
        is_path = isinstance(source, Path) or ("\n" not in source and source.endswith(SUFFIXES))
        if files and is_path:
            file = str(source)
            try:
                self.source = Path(source).read_text("utf-8")
            except (OSError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise errors.UsageError(f"the template {file} cannot be read: {why}") from error
        else:
            self.source = str(source)
        folders = [Path(file).parent, *map(Path, include_paths)]
        self.functions = {
            name: call if isinstance(call, actions.Function) else actions.Function(call)
            for name, call in (functions or {}).items()
        }
        read = parser.reader([Path(path) for path in include_paths]) if files else None
        document, found = parser.attempt(self.source, file=file, read=read)
        known = models_module.Types(models or {}, [folder / "types" for folder in folders] if files else [])
        allowed = files if outside is None else outside
        self._built_in = actions.outside(folders[0]) if allowed else {}
        self.plan = plans.plan(
            document,
            known,
            {*actions.BUILT_IN, *self.functions},
            refused=() if allowed else actions.OUTSIDE - set(self.functions),
            found=found,
        )

    # without a model

    def check(self, inputs: Mapping[str, Any] | None = None) -> Checked:
        """Slots and variables; with `inputs`, also which variables have no value, or one that does not fit."""
        found = [] if inputs is None else self.plan.missing(inputs) or self.plan.unknown(inputs)
        return Checked(slots=self.plan.slots, variables=list(self.plan.variables), errors=found)

    def graph(self) -> str:
        """A Mermaid flow chart of variables, segments and what waits for what."""
        return plans.graph(self.plan)

    def flat(self) -> str:
        """The text with its includes put in."""
        return self.plan.document.flat

    def explain(self) -> str:
        """What will be asked when, in words."""
        return plans.explain(self.plan)

    # with one

    def execution(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        strict: bool = False,
        stop_at: str | None = None,
        stream: bool = True,
        cache: bool | caching.Cache = True,
        pace: bool = False,
        max_concurrency: int = CONCURRENCY,
        gate: asyncio.Semaphore | None = None,
        earlier: caching.Earlier | None = None,
    ) -> Execution:
        """A program for `Engine.start`; see `stream` for the arguments.

        Raises:
            faults.TemplateError: strict, and variables have no value.
            errors.UsageError: `stop_at` names no slot; `max_concurrency` is less than 1.
        """
        inputs = inputs or {}
        if strict and (missing := self.plan.missing(inputs)):
            raise faults.TemplateError(missing)
        if unknown := self.plan.unknown(inputs):
            raise faults.TemplateError(unknown)
        if max_concurrency < 1:
            raise errors.UsageError("max_concurrency must be 1 or more", code="bad-request")
        if stop_at is not None and stop_at not in {slot.key for slot in self.plan.slots}:
            meant = faults.meant(stop_at, [slot.key for slot in self.plan.slots])
            raise errors.UsageError(f"there is no slot {stop_at!r} to stop at{meant}", code="bad-request")
        store = cache if isinstance(cache, caching.Cache) else _kept if cache else None
        how = How(
            stop_at=stop_at,
            stream=stream,
            cache=store,
            pace=pace,
            gate=gate or asyncio.Semaphore(max_concurrency),
            earlier=earlier,
            functions=self.functions,
            built_in=self._built_in,
        )
        return Execution(self.plan, inputs, how)

    def stream(
        self,
        model: str | object,
        inputs: Mapping[str, Any] | None = None,
        *,
        engine: engines.Engine | None = None,
        strict: bool = False,
        stop_at: str | None = None,
        stream: bool = True,
        cache: bool | caching.Cache = True,
        pace: bool = False,
        max_concurrency: int = CONCURRENCY,
        gate: asyncio.Semaphore | None = None,
        earlier: caching.Earlier | None = None,
        **options: Any,
    ) -> Stream:
        """Run the template and stream what it answers.

            async with template.stream("demo", {"story": story}) as run:
                async for value in run.values():
                    if value.type == "token":
                        print(value.token, end="", flush=True)

        Args:
            model: a name, or any object that `headrace.stream` takes.
            inputs: values of its variables; they are data, whatever is in them.
            engine: instead of the library's own.
            strict: a variable without a value is an error before anything is asked; else it is empty.
            stop_at: the slot after which the run ends.
            stream: False shows no tokens and asks for whole answers.
            cache: False asks always; True keeps answers in this process; or a `caching.Cache`.
            pace: a kept answer comes at the pace it was recorded with, instead of at once.
            max_concurrency: calls to providers at the same time; `gate` shares one limit among runs.
            earlier: answers of an interrupted run of the same, and where new ones are noted: what `headrace.batch`
                resumes with.
            options: as for `headrace.stream`: `temperature`, `fallbacks`, `timeouts`, `metadata`, …

        Returns:
            An async context manager that starts the run, and stops it when left early.
        """
        given = runs_api.stream(model, self.source or " ", **{"kind": "template", **options})

        def program() -> Execution:
            return self.execution(
                inputs,
                strict=strict,
                stop_at=stop_at,
                stream=stream,
                cache=cache,
                pace=pace,
                max_concurrency=max_concurrency,
                gate=gate,
                earlier=earlier,
            )

        return Stream(given, engine, program)

    async def run(self, model: str | object, inputs: Mapping[str, Any] | None = None, **how: Any) -> Results:
        """Run the template and wait for its end; arguments as for `stream`.

        Raises:
            errors.HeadraceError: it failed.
        """
        async with self.stream(model, inputs, **how) as run:
            return await run.result()

    def run_sync(self, model: str | object, inputs: Mapping[str, Any] | None = None, **how: Any) -> Results:
        """`run` without async."""
        return sync.call(self.run(model, inputs, **how))

    def stream_sync(
        self, model: str | object, inputs: Mapping[str, Any] | None = None, **how: Any
    ) -> SyncTemplateRun:
        """`stream` without async: iterate over `.values()` or `.text()`, live."""
        return SyncTemplateRun(self.stream(model, inputs, **how))


class TemplateRun(handle.Run):
    """A started run of a template: as `handle.Run`, with `values` and a result of its own."""

    def __init__(self, engine: engines.Engine, active: engines.ActiveRun, execution: Execution) -> None:
        super().__init__(engine, active)
        self.execution = execution

    async def values(self) -> AsyncIterator[Value]:
        """Tokens, finished slots, checkpoints and the end, as Python values; a failure is the last of them."""
        reader = self._reader()
        async for batch in self.batches():
            for value in reader.read(batch):
                yield value

    def partial(self, span: str) -> Any:
        """The value so far of a slot that comes field by field, by its span; None before it has begun.

        Of a type of the user's a growing instance, whose missing fields are None; else as JSON has it. It is live:
        the same object grows.
        """
        stream = self.execution.growing.get(span)
        return None if stream is None else stream.value

    def _reader(self) -> Reader:
        execution = self.execution

        def value(span: str, plain: Any) -> Any:
            return next((a.value for a in reversed(execution.asked) if a.span == span), plain)

        def results(plain: dict[str, Any]) -> dict[str, Any]:
            return {key: execution.values.get(key, found) for key, found in plain.items()}

        return Reader(value=value, results=results, complete=self._results)

    def _results(self, end: events.RunEnd) -> Results:
        return Results(
            self.execution.values,
            run=end.run or self.id,
            slots=self.execution.asked,
            early_termination=self.execution.early,
            usage=end.usage,
            elapsed_ms=end.elapsed_ms,
        )

    async def result(self) -> Results:  # type: ignore[override]
        """Wait for the end.

        Raises:
            errors.HeadraceError: the run failed or was interrupted. A cancelled run has the values it came to.
        """
        await self._active.ended.wait()
        self._raise()
        return self._results(self._end())


class Stream:
    """A run of a template that starts when entered. See `Template.stream`."""

    def __init__(
        self, given: runs_api.Stream, engine: engines.Engine | None, program: Callable[[], Execution]
    ) -> None:
        self._given = given
        self._engine = engine
        self._program = program
        self._run: TemplateRun | None = None

    async def start(self) -> TemplateRun:
        """Start the run without a `with` block; the caller stops it.

        Raises:
            errors.HeadraceError: it could not be started.
        """
        execution = self._program()
        engine = self._engine or runs_api.default_engine()
        active = await engine.start(self._given.spec, execution, models=self._given.models(engine))
        return TemplateRun(engine, active, execution)

    async def __aenter__(self) -> TemplateRun:
        self._run = await self.start()
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            await self._run.__aexit__(kind, error, trace)


class SyncTemplateRun:
    """A run of a template for blocking code. See `Template.stream_sync`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._run: TemplateRun | None = None

    def _started(self) -> TemplateRun:
        if self._run is None:
            self._run = sync.call(self._stream.start())
        return self._run

    def values(self) -> Iterator[Value]:
        """As `TemplateRun.values`, live. Leaving the loop early stops the run."""
        return self._drawn(self._started().values())

    def text(self) -> Iterator[str]:
        """The tokens of all slots, as they come."""
        return self._drawn(self._started().text())

    def _drawn(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        nothing = object()
        done = False
        try:
            while (value := sync.call(_next(source, nothing))) is not nothing:
                yield value
            done = True
        finally:
            sync.call(source.aclose())  # type: ignore[attr-defined]
            if not done:
                self.cancel()

    def result(self) -> Results:
        """Wait for the end; see `TemplateRun.result`."""
        return sync.call(self._started().result())

    def cancel(self) -> None:
        """Stop the run; idempotent."""
        sync.call(self._started().cancel())

    def __enter__(self) -> SyncTemplateRun:
        self._started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


async def _next(source: AsyncIterator[Any], nothing: object) -> Any:
    return await anext(source, nothing)
