"""The front door for Python code: `stream`, `ask`, and the engine they use.

An engine of the library's own is made per event loop when first needed: settings from the environment, logs in
memory, no ledger. A program that wants a ledger, or limits of its own, makes an `Engine` and passes it as
`engine=`. The blocking twins are in `sync`, on the same code.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from headrace import errors, messages
from headrace.providers import base
from headrace.runlog.memory import MemoryRunLog
from headrace.runs import context, tools
from headrace.runs.attempts import Models
from headrace.runs.engine import Engine
from headrace.runs.handle import Run
from headrace.runs.spec import Program, Result, RunSpec

if TYPE_CHECKING:
    from headrace.outputs.shape import Shape

Prompt = str | Sequence[Mapping[str, Any] | messages.Message]

_engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Engine] = weakref.WeakKeyDictionary()
_keepers: weakref.WeakKeyDictionary[Engine, AsyncIterator[None]] = weakref.WeakKeyDictionary()
_RETENTION = 300.0  # seconds an ended run of the library's own engine can be read again


def default_engine() -> Engine:
    """The engine of the running event loop, made at the first call.

    Raises:
        errors.UsageError: a setting is wrong.
    """
    loop = asyncio.get_running_loop()
    engine = _engines.get(loop)
    if engine is None:
        from headrace import settings as settings_module
        from headrace.providers import prices, registry

        settings = settings_module.load()
        engine = _engines[loop] = Engine(
            registry.Registry(settings),
            MemoryRunLog(retention=_RETENTION),
            price=prices.priced,
            timeouts=timeouts_of(settings),
        )
        if settings.sinks:
            from headrace import sinks

            sinks.following.install(engine, [sinks.of(url.get_secret_value()) for url in settings.sinks])
        _close_with_loop(engine)
    return engine


def _close_with_loop(engine: Engine) -> None:
    """Have the engine closed when its loop shuts down.

    A loop has no such hook, but `asyncio.run` closes every async generator that has been begun on it.
    """

    async def held() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await engine.close()

    keeper = _keepers[engine] = held()
    try:
        anext(keeper).send(None)  # type: ignore[attr-defined]
    except StopIteration:
        pass


def timeouts_of(settings: Any) -> base.Timeouts:
    """The provider time-outs that the settings ask for."""
    return base.Timeouts(
        connect=settings.connect_timeout,
        first_chunk=settings.first_chunk_timeout,
        stall=settings.stall_timeout,
        total=settings.total_timeout,
    )


def stream(
    model: str | object, prompt: Prompt | None = None, *, engine: Engine | None = None, **options: Any
) -> Stream:
    """Ask a model and stream what it answers; or call an instrumented DSPy module, `stream(module, question=…)`.

        async with headrace.stream("openai:gpt-4o-mini", "Tell me a story") as run:
            async for token in run.text():
                print(token, end="", flush=True)

    Args:
        model: a name such as `openai:gpt-4o-mini`, or any object with `generate`, `generate_stream` or `stream`; or
            an instance of a class with `@headrace.instrument`, whose inputs the options then are.
        prompt: a text, or messages (`{"role": …, "content": …}`, or `messages.Message`).
        engine: instead of the library's own.
        options: `system` (text put before the messages) and the fields of `RunSpec`: `temperature`,
            `max_tokens`, `seed`, `stop`, `fallbacks`, `failover`, `timeouts`, `metadata`, …; `tools` are functions
            and `Tool`s, which the run calls, and `messages.ToolSpec`s, which end it with `tool-calls`; `output` is
            the type (or the JSON Schema, also as `output_schema`) that the answer has to have: `outputs.shape`.

    Returns:
        An async context manager that starts the run, and stops it when left early.

    Raises:
        errors.UsageError: `bad-request`, for an option that there is not. What concerns the model is raised
            when the run is started or read.
    """
    program_of = getattr(type(model), "__headrace_program__", None)
    if program_of is not None:
        inputs = options if prompt is None else {"prompt": prompt, **options}
        spec = RunSpec(
            model=f"module:{type(model).__name__}", kind="module", on_disconnect="continue", record=False
        )
        return Stream(engine, spec, None, program_of(model, inputs))
    if prompt is None:
        raise errors.UsageError("stream needs a prompt: a text or messages", code="bad-request")
    return Stream(engine, *_spec(model, prompt, options))


async def ask(model: str | object, prompt: Prompt, *, engine: Engine | None = None, **options: Any) -> Result:
    """Ask a model and wait for the whole answer; arguments as for `stream`.

    Raises:
        errors.HeadraceError: the run failed.
    """
    async with stream(model, prompt, engine=engine, **options) as run:
        return await run.result()


class Stream:
    """A run that starts when entered. See `stream`."""

    def __init__(
        self, engine: Engine | None, spec: RunSpec, model: object | None, program: Program | None = None
    ) -> None:
        self._engine = engine
        self._program = program or context.answer
        self._spec = spec
        self._model = model
        self._run: Run | None = None

    async def start(self) -> Run:
        """Start the run without a `with` block; the caller stops it.

        Raises:
            errors.HeadraceError: it could not be started.
        """
        engine = self._engine or default_engine()
        return Run(engine, await engine.start(self._spec, self._program, models=self.models(engine)))

    @property
    def spec(self) -> RunSpec:
        """What is asked for."""
        return self._spec

    def models(self, engine: Engine) -> Models | None:
        """What resolves this run's model names, where the engine's own cannot: an object was given as the model."""
        if self._model is None:
            return None
        return WithObject(self._model, self._spec.model, engine.models)

    async def __aenter__(self) -> Run:
        self._run = await self.start()
        return self._run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            await self._run.__aexit__(kind, error, trace)


class WithObject:
    """The engine's models, and one object given as a model under its own name: `Engine.start(models=…)`."""

    def __init__(self, model: object, name: str, others: Models) -> None:
        from headrace.providers import registry

        self._provider = registry.as_provider(model)
        self._name = name
        self._others = others

    def resolve(self, name: str) -> tuple[base.Provider, str]:
        if name == self._name:
            return self._provider, getattr(self._provider, "model", name)
        return self._others.resolve(name)

    async def close(self) -> None:
        """The object is its owner's to close; the engine closes the others."""


_OPTIONS = frozenset(RunSpec.__struct_fields__) - {"model", "messages", "owner", "record"}


def _spec(model: str | object, prompt: Prompt, options: dict[str, Any]) -> tuple[RunSpec, object | None]:
    system = options.pop("system", None)
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise errors.UsageError(
            f"there is no option {unknown[0]!r}; there are system, {', '.join(sorted(_OPTIONS))}",
            code="bad-request",
        )
    thread = to_messages(prompt)
    if system is not None:
        thread = (messages.system(system), *thread)
    shape = _shape(options.pop("output", None), options.pop("output_schema", None))
    if shape is not None:
        options["output"] = shape
    if "tools" in options:
        options["tools"] = tools.as_tools(options["tools"])
    for name in ("stop", "fallbacks"):
        if name in options:
            options[name] = tuple(options[name])
    options.setdefault("on_disconnect", "continue")
    if isinstance(model, str):
        return RunSpec(model=model, messages=thread, **options), None
    return RunSpec(model=f"object:{type(model).__name__}", messages=thread, **options), model


def _shape(output: Any, schema: Any) -> Shape | None:
    if output is None and schema is None:
        return None
    if output is not None and schema is not None:
        raise errors.UsageError("give output or output_schema, not both", code="bad-request")
    from headrace.outputs import shape  # loads the validators, which most programs do without

    return shape.Shape.of(schema if output is None else output)


def to_messages(prompt: Prompt) -> tuple[messages.Message, ...]:
    """A text or a list of messages as messages.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if isinstance(prompt, str):
        return (messages.user(prompt),)
    if all(isinstance(item, messages.Message) for item in prompt) and prompt:
        return tuple(item for item in prompt if isinstance(item, messages.Message))
    plain = [msgspec.to_builtins(item) if isinstance(item, messages.Message) else item for item in prompt]
    return messages.parse_messages(plain)
