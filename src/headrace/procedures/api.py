"""`headrace.Procedure`: a Lua program as Python code sees it; and what servers need to start, answer and resume one.

    procedure = headrace.Procedure.from_file("story.tac")
    async with procedure.stream({"topic": "rivers"}) as run:
        async for token in run.text():
            print(token, end="", flush=True)
        result = await run.result()      # result.value is what the program returned

Next: `specification`, its tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headrace import errors
from headrace.procedures import checking, people, turns
from headrace.procedures.host import Declared, Host
from headrace.procedures.journal import KEY, Journal, Source
from headrace.procedures.sandbox import Limits
from headrace.runs import api, attempts, context, handle, questions, sync
from headrace.runs import tools as runtools
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import Program, Result, Returned, RunSpec

MAX_PROGRAM = 1024 * 1024  # characters


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What a program is given beside its inputs.

    Attributes:
        root: the folder that `File` is kept in; None refuses `File`.
        writes: endings of the files that `File` may write; None is any.
        tools: further tools that its agents may name; also those of `headrace.tool` and of MCP servers.
        limits: of the interpreter.
        model_for: an agent's model by the agent's name, where it is not the agent's own (mocks).
    """

    root: Path | None = None
    writes: frozenset[str] | None = None
    tools: tuple[turns.Tool | runtools.Tool, ...] = ()
    limits: Limits = Limits()
    model_for: Callable[[str], str | None] | None = None


class Procedure:
    """A procedure: a Lua program, to be run any number of times.

    Args:
        text: the program.
        name: its file's name, which stands in messages.
        root: the folder that `File` is kept in; None refuses `File`.
        tools: further tools that its agents may name.
        limits: of the interpreter.

    Raises:
        errors.UsageError: `too-large`.
    """

    def __init__(
        self,
        text: str,
        *,
        name: str = "procedure.tac",
        root: Path | str | None = None,
        tools: Sequence[turns.Tool | runtools.Tool] = (),
        limits: Limits | None = None,
    ) -> None:
        self.source = _source(text, name, {})
        self.extras = Extras(
            root=Path(root) if root is not None else None, tools=tuple(tools), limits=limits or Limits()
        )

    @classmethod
    def from_file(cls, path: Path | str, **options: Any) -> Procedure:
        """The procedure in a file; `File` is kept in the working directory unless `root` says otherwise.

        Raises:
            OSError: it cannot be read.
            errors.UsageError: it is not UTF-8.
        """
        path = Path(path)
        options.setdefault("root", Path.cwd())
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise errors.UsageError(f"{path} is not UTF-8 text: {error}") from error
        return cls(text, name=path.name, **options)

    async def check(self, *, explore: bool = True) -> Declared:
        """Look at the program without doing anything: syntax, names, fields, agents, tools. No model is called.

        Args:
            explore: go on after the first thing that the program would do, with stand-ins for answers.

        Raises:
            errors.UsageError: `procedure-error`, with file and line; `details["problems"]` has all that is wrong.
        """
        look = checking.Check(self.source.text, explore=explore)
        tools: dict[str, turns.Tool] = {tool.name: _unused(tool.name) for tool in self.extras.tools}
        host = Host(None, self.source, Journal(None, "", ""), self.extras.limits, tools=tools, check=look)
        try:
            await host.look(look)
        except errors.UsageError as error:
            line = error.details.get("line")
            if error.code != "procedure-error" or not look.problems or not isinstance(line, int):
                raise
            look.problems.add(
                checking.Problem(line, error.message.removeprefix(f"{self.source.name}:{line}: "))
            )
        problem = look.error(self.source.name)
        if problem is not None:
            raise problem
        return host.declared

    def stream(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        model: str | None = None,
        engine: Engine | None = None,
        models: attempts.Models | None = None,
        model_for: Callable[[str], str | None] | None = None,
        **options: Any,
    ) -> Stream:
        """Run it, and stream what its agents say: an async context manager that gives a `runs.handle.Run`.

        Args:
            model: of agents that name none.
            engine: instead of the library's own; with a ledger, the run can be resumed.
            models: resolves model names, instead of the engine's own.
            model_for: see `Extras`.
            options: fields of `RunSpec`: `owner`, `conversation`, `deadline_s`, `metadata`, …
        """
        source = msgspec.structs.replace(self.source, inputs=dict(inputs or {}))
        extras = msgspec.structs.replace(self.extras, model_for=model_for)
        return Stream(source, extras, engine, models, model, options)

    async def run(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> Result:
        """Run it and wait; `.value` is what it returned. Arguments as for `stream`.

        Raises:
            errors.HeadraceError: it failed.
        """
        async with self.stream(inputs, **options) as run:
            return await run.result()

    def run_sync(self, inputs: Mapping[str, Any] | None = None, **options: Any) -> Result:
        """`run` without async."""
        return sync.call(self.run(inputs, **options))

    def check_sync(self, *, explore: bool = True) -> Declared:
        """`check` without async."""
        return sync.call(self.check(explore=explore))


class Stream:
    """A run that starts when entered. See `Procedure.stream`."""

    def __init__(
        self,
        source: Source,
        extras: Extras,
        engine: Engine | None,
        models: attempts.Models | None,
        model: str | None,
        options: dict[str, Any],
    ) -> None:
        self._given = (source, extras)
        self._engine = engine
        self._models = models
        self._model = model
        self._options = options
        self._run: ProcedureRun | None = None

    async def start(self) -> ProcedureRun:
        """Start the run without a `with` block; the caller stops it.

        Raises:
            errors.HeadraceError: it could not be started.
        """
        engine = self._engine or api.default_engine()
        active = await start(engine, *self._given, model=self._model, models=self._models, **self._options)
        return ProcedureRun(engine, active)

    async def __aenter__(self) -> ProcedureRun:
        self._run = await self.start()
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            await self._run.__aexit__(kind, error, trace)


class ProcedureRun(handle.Run):
    """A run of a procedure: as any run, and people can answer it."""

    async def result(self) -> Result:
        """Wait for the end; `value` is what the program returned.

        Raises:
            errors.HeadraceError: it failed.
        """
        result = await super().result()
        end = self._end()
        return msgspec.structs.replace(result, value=end.result, text="")

    async def answer(self, request: str, value: Any) -> None:
        """Answer a `human-request` of this run.

        Raises:
            questions.NoSuchRequest: it is not open.
            errors.UsageError: `bad-request`: no answer to this question.
        """
        await self._engine.respond(self.id, request, value)


async def start(
    engine: Engine,
    source: Source,
    extras: Extras,
    *,
    model: str | None = None,
    models: attempts.Models | None = None,
    **options: Any,
) -> ActiveRun:
    """Start a run of a procedure.

    Raises:
        errors.HeadraceError: see `Engine.start`.
    """
    options.setdefault("on_disconnect", "continue")
    spec = RunSpec(model=model or _default_model(engine), kind="procedure", **options)
    return await engine.start(spec, program(engine, source, extras), models=models)


def program(engine: Engine, source: Source, extras: Extras) -> Program:
    """The engine's program that runs a procedure."""

    async def run(ctx: context.Context) -> Returned:
        spec = ctx.spec
        journal = Journal(
            engine.ledger if spec.record else None,
            spec.conversation or ctx.run,
            spec.metadata.get(KEY) or ctx.run,
        )
        if spec.metadata.get(KEY):
            await journal.load()
        else:
            await journal.begin(source)
        host = Host(
            ctx,
            source,
            journal,
            extras.limits,
            root=extras.root,
            writes=extras.writes,
            tools={
                tool.name: turns.adopted(ctx, tool) if isinstance(tool, runtools.Tool) else tool
                for tool in extras.tools
            },
            model_for=extras.model_for,
        )
        return Returned(await host.run())

    return run


async def resume(
    engine: Engine,
    run: str,
    extras: Extras,
    *,
    owner: str | None = None,
    text: str | None = None,
    models: attempts.Models | None = None,
) -> ActiveRun:
    """Go on with a run that did not come to its end, as a new run with the same journal.

    Args:
        owner: whose run it has to be; None is anybody's.
        text: the program as it is now; default: as it was.

    Raises:
        errors.ReadError: `run-not-found`.
        errors.UsageError: `bad-request`: it is no procedure, is still running, or has completed.
    """
    info = await engine.info(run, owner=owner)
    record = await engine.ledger.run(run) if engine.ledger is not None else None
    if info.kind != "procedure" or record is None:
        raise errors.UsageError(f"{run} is no procedure with a journal", code="bad-request")
    if info.status != "ended":
        raise errors.UsageError(f"{run} is still running", code="bad-request")
    if info.outcome == "completed":
        raise errors.UsageError(f"{run} has completed; there is nothing to go on with", code="bad-request")
    journal = await _journal(engine, record.conversation, record.metadata.get(KEY) or run)
    assert journal.source is not None
    source = journal.source if text is None else msgspec.structs.replace(journal.source, text=text)
    return await start(
        engine,
        source,
        extras,
        model=record.model,
        models=models,
        conversation=record.conversation,
        owner=record.owner,
        metadata={**record.metadata, KEY: journal.id, "resumes": run},
    )


async def respond(
    engine: Engine, run: str, request: str, value: Any, extras: Extras, *, owner: str | None = None
) -> str:
    """Answer a question; a run that no longer lives goes on with the answer, as a new run.

    Returns:
        The id of the run that goes on.

    Raises:
        questions.NoSuchRequest: it is not open.
        errors.UsageError: `bad-request`: no answer to this question.
        errors.ReadError: `run-not-found`.
    """
    info = await engine.info(run, owner=owner)
    if info.status != "ended":
        await engine.respond(run, request, value)
        return run
    missing = questions.NoSuchRequest(
        f"the run {run} has no open question {request[:80]!r}",
        code="bad-request",
        details={"request": request[:80]},
    )
    record = await engine.ledger.run(run) if engine.ledger is not None else None
    if info.kind != "procedure" or record is None or info.outcome != "interrupted":
        raise missing
    journal = await _journal(engine, record.conversation, record.metadata.get(KEY) or run)
    number, question = journal.open_question(request)
    await journal.answered(number, people.fitting(question, value))
    return (await resume(engine, run, extras, owner=owner)).run


async def _journal(engine: Engine, conversation: str, id: str) -> Journal:
    journal = Journal(engine.ledger, conversation, id)
    await journal.load()
    if journal.source is None:
        raise errors.UsageError(f"the program of {id} is not in the ledger", code="bad-request")
    return journal


def _source(text: str, name: str, inputs: dict[str, Any]) -> Source:
    if len(text) > MAX_PROGRAM:
        raise errors.UsageError(
            f"the program has {len(text):,} characters; the limit is {MAX_PROGRAM:,}", code="too-large"
        )
    return Source(text=text, name=name, inputs=inputs)


def _unused(name: str) -> turns.Tool:
    """A tool that a check knows by its name."""

    async def run(value: Any, line: int) -> Any:
        raise turns.ToolFailed(f"{name} is not called by a check")

    return turns.Tool(name=name, run=run)


def _default_model(engine: Engine) -> str:
    named = getattr(engine.models, "default_model", None)
    return str(named()) if named is not None else "demo"
