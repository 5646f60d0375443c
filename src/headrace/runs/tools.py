"""Functions that a model may call: a signature and a docstring become a schema, a call becomes a checked call.

    @tool(timeout=10)
    def weather(city: str, days: int = 1) -> Forecast:
        '''The forecast for a city.

        Args:
            city: its name, in English.
        '''

A `Tool` is a `ToolSpec` with a function: every provider takes it as it takes any tool, and `rounds` runs it. A
`ToolSpec` without a function is the caller's to run. Sync functions run in a thread of their own, async ones on
the loop; generators of either sort give preliminary results, the last of which is the result.
Here: one call of one tool. When calls start, and what follows them: `rounds`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, TypeVar, overload

import msgspec
import pydantic
import typing_extensions
from pydantic.fields import FieldInfo

from headrace import errors, events, messages
from headrace.outputs import typed
from headrace.runs import docstrings, plain

T = TypeVar("T")

Approval = bool | Callable[[dict[str, Any]], bool | Awaitable[bool]]


class ToolError(errors.RunError):
    """Raised by a tool to tell the model, in its own words, that a call did not work."""

    default_code = "tool-failed"


class ToolContext:
    """What a tool's function sees of its run, where a parameter of it has this type. Usable from its thread.

    Attributes:
        run: the run's id.
        call: the call's id.
        span: the span of the call.
    """

    def __init__(self, run: str, call: str, span: str, emit: Callable[..., None]) -> None:
        self.run = run
        self.call = call
        self.span = span
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether nobody waits for the call any more: for a function in a thread, which cannot be stopped."""
        return self._stopped.is_set()

    def status(self, message: str) -> None:
        """Say what the tool is doing; readers see it at once."""
        self.emit(events.Status(message=plain.plain(message)))

    def custom(self, name: str, data: Any = None) -> None:
        """Send an application's own event."""
        self.emit(events.Custom(name=name, data=plain.plain(data)))

    def emit(self, *batch: events.Event) -> None:
        """Write events into the run; after the call's end they are dropped."""
        self._loop.call_soon_threadsafe(self._write, batch)

    def _write(self, batch: Sequence[events.Event]) -> None:
        if not self._stopped.is_set():
            self._emit(*batch, span=self.span)

    def close(self) -> None:
        """The call is over."""
        self._stopped.set()


class Tool(messages.ToolSpec, frozen=True, kw_only=True, eq=False):
    """A tool that the engine runs. Made by `tool`, or by `Tool.of`.

    Attributes:
        function: what is called, with keyword arguments.
        arguments: checks and coerces the arguments.
        context: the name of the parameter that takes a `ToolContext`, if there is one.
        timeout: seconds one call may take; None is no limit.
        approval: whether a person has to allow a call: always, never, or as a function of the arguments says.
        approval_timeout: seconds to wait for that person; then the call is not allowed. None: as long as the run.
        early: True starts a call the moment its arguments are complete, while the answer may still stream; False
            when the whole answer is there, and cannot be taken back any more.
        max_chars: characters of a result's text; a longer one is an error, in words.
    """

    function: Callable[..., Any]
    arguments: pydantic.TypeAdapter[Any]
    context: str | None = None
    timeout: float | None = 60.0
    approval: Approval = False
    approval_timeout: float | None = None
    early: bool = True
    max_chars: int = 200_000

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        **options: Any,
    ) -> Tool:
        """Make a tool of a function.

        Args:
            name: default: the function's.
            description: default: the docstring's, without its sections.
            options: the attributes of `Tool` from `timeout` on, and `parameters`, a JSON Schema to show to the model
                instead of the one made from the signature.

        Raises:
            errors.UsageError: the signature cannot be a schema; the message says why.
        """
        name = str(name or getattr(function, "__name__", ""))
        if not name.isidentifier() and not name.replace("-", "_").isidentifier():
            raise errors.UsageError(
                f"a tool needs a name of letters, digits, _ and -, not {name!r}: give name=…"
            )
        about, words = docstrings.parse(inspect.getdoc(function))
        adapter, schema, context = _arguments(function, name, words)
        options.setdefault("parameters", schema)
        return cls(
            name=name,
            description=about if description is None else description,
            function=function,
            arguments=adapter,
            context=context,
            **options,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, unchecked: a decorated function stays a function."""
        return self.function(*args, **kwargs)

    def check(self, arguments: Any) -> dict[str, Any]:
        """The arguments as the function takes them.

        Raises:
            ToolError: they do not fit; the message tells the model what to mend.
        """
        if isinstance(arguments, str):
            raise ToolError(f"the arguments of {self.name} are not JSON: {arguments[:200]!r}")
        try:
            made: dict[str, Any] = self.arguments.validate_python({} if arguments is None else arguments)
        except pydantic.ValidationError as error:
            wrong = "; ".join(_wrong(item) for item in error.errors(include_url=False)[:20])
            raise ToolError(f"the arguments of {self.name} do not fit: {wrong}") from error
        return made

    async def needs_approval(self, arguments: dict[str, Any]) -> bool:
        """Whether a person has to allow this call."""
        if not callable(self.approval):
            return self.approval
        asked = self.approval(arguments)
        return bool(await asked) if inspect.isawaitable(asked) else bool(asked)

    @property
    def generates(self) -> bool:
        """Whether its function gives several results, the last of which counts."""
        return _is(inspect.isasyncgenfunction, self.function) or _is(
            inspect.isgeneratorfunction, self.function
        )

    async def results(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        """Call the function: each value a generator yields, or the one value it returns.

        Raises:
            Exception: whatever the function raises.
        """
        given = {**arguments, self.context: context} if self.context else arguments
        function = self.function
        if self.generates or _is(inspect.iscoroutinefunction, function):
            made = function(**given)  # calling these runs nothing yet
        else:
            made = await in_thread(function, **given)
        if inspect.isawaitable(made):
            made = await made
        if inspect.isasyncgen(made):
            async with aclosing(made):
                async for value in made:
                    yield value
        elif inspect.isgenerator(made):
            end = object()
            while (value := await in_thread(next, made, end)) is not end:
                yield value
        else:
            yield made


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(**options: Any) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a `Tool` of the function below: `@tool`, or `@tool(timeout=10, approval=True)`; see `Tool.of`."""
    if function is not None:
        return Tool.of(function)
    return lambda decorated: Tool.of(decorated, **options)


def as_tools(given: Iterable[Any]) -> tuple[messages.ToolSpec, ...]:
    """Functions, tools and specs as tools.

    Raises:
        errors.UsageError: one of them is none of these, or two have the same name.
    """
    made: dict[str, messages.ToolSpec] = {}
    for item in given:
        if not isinstance(item, messages.ToolSpec):
            if not callable(item):
                raise errors.UsageError(f"tools are functions, Tool or ToolSpec, not {type(item).__name__}")
            item = Tool.of(item)
        if item.name in made:
            raise errors.UsageError(f"two tools have the name {item.name!r}", code="bad-request")
        made[item.name] = item
    return tuple(made.values())


def table(given: Mapping[str, Any] | Iterable[Any]) -> dict[str, Tool]:
    """Tools by the name they are registered under.

    Raises:
        errors.UsageError: see `as_tools`; also for a spec without a function.
    """
    if isinstance(given, Mapping):
        named = [
            msgspec.structs.replace(item, name=name) if isinstance(item, Tool) else Tool.of(item, name=name)
            for name, item in given.items()
        ]
    else:
        named = [*given]
    found = as_tools(named)
    for item in found:
        if not isinstance(item, Tool):
            raise errors.UsageError(f"the tool {item.name!r} has no function; a server cannot run it")
    return {item.name: item for item in found if isinstance(item, Tool)}


async def in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call a function in a daemon thread of its own and wait for it.

    Not in a pool: a function that never comes back would take a place in it for ever, and keep the process from
    ending. Cancelled, we stop waiting; the thread goes on, and what it comes to is dropped.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    scope = contextvars.copy_context()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(value)  # type: ignore[arg-type]
        elif isinstance(error, StopIteration):  # a future refuses it
            answer.set_exception(RuntimeError(f"StopIteration: {error}"))
        else:
            answer.set_exception(error)

    def work() -> None:
        value: T | None = None
        failure: BaseException | None = None
        try:
            value = scope.run(function, *args, **kwargs)
        except BaseException as error:  # all of it belongs to whoever waits
            failure = error
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(settle, value, failure)
            except RuntimeError:  # closed in between: nobody waits
                return

    threading.Thread(target=work, name=f"tool-{getattr(function, '__name__', 'call')}", daemon=True).start()
    return await answer


_typed_dict: Any = typing_extensions.TypedDict


def _arguments(
    function: Callable[..., Any], name: str, words: Mapping[str, str]
) -> tuple[pydantic.TypeAdapter[Any], dict[str, Any], str | None]:
    target = _inner(function)
    if not inspect.isroutine(target) and not inspect.isclass(target):
        target = type(target).__call__
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(getattr(target, "__func__", target), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise errors.UsageError(f"the signature of the tool {name!r} cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    context: str | None = None
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, Any)
        if hint is ToolContext:
            context = parameter.name
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise errors.UsageError(
                f"the tool {name!r}: a model gives every argument by its name, {str(parameter)!r} has none"
            )
        fields[parameter.name] = _field(hint, parameter, words.get(parameter.name))
    shape = _typed_dict(name, fields)
    shape.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        adapter = pydantic.TypeAdapter(shape)
        schema = adapter.json_schema(schema_generator=typed.PlainSchema)
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise errors.UsageError(f"the tool {name!r} has a parameter without a JSON form: {error}") from error
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return adapter, schema, context


def _field(hint: Any, parameter: inspect.Parameter, words: str | None) -> Any:
    """The type of one argument, with its description and default, for the schema."""
    described = any(
        isinstance(item, FieldInfo) and item.description for item in getattr(hint, "__metadata__", ())
    )
    extra: dict[str, Any] = {}
    default = parameter.default
    if isinstance(default, FieldInfo):
        raise errors.UsageError(
            f"the parameter {parameter.name!r}: write Annotated[type, Field(…)]; a Field is no default"
        )
    if default is not parameter.empty and default is not None:
        extra["json_schema_extra"] = {"default": plain.plain(default)}
    if words and not described:
        extra["description"] = words
    if extra:
        hint = Annotated[hint, pydantic.Field(**extra)]
    return hint if default is parameter.empty else typing_extensions.NotRequired[hint]


def _wrong(item: Any) -> str:
    where = ".".join(str(step) for step in item["loc"])
    if item["type"] in ("missing", "extra_forbidden"):
        return f"{where}: {'is missing' if item['type'] == 'missing' else 'there is no such argument'}"
    got = repr(item["input"])
    return f"{where + ': ' if where else ''}{item['msg']}, got {got if len(got) < 80 else got[:77] + '…'}"


def _inner(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is(test: Callable[[Any], bool], function: Any) -> bool:
    function = _inner(function)
    return test(function) or (not inspect.isroutine(function) and test(type(function).__call__))
