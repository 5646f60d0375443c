"""`@instrument`: a DSPy module whose calls are runs and whose output fields stream.

The class itself is kept: its `__call__` and `acall` are wrapped, and it gets an attribute, `_headrace_stream_fields`
(`_streamll_stream_fields` is the same), that a `forward` may set for the call it is in. Next: `program`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from headrace import errors
from headrace.core.events import HeadraceEvent
from headrace.integrations.dspy import ambient
from headrace.integrations.dspy.call import OPERATIONS, Call, Frame, jsonable
from headrace.sinks.base import BaseSink

try:
    import dspy

    from headrace.integrations.dspy import callbacks, internals
except ImportError as error:
    raise errors.MissingExtra("dspy", "headrace.instrument") from error

C = TypeVar("C", bound=type)

MARK = "__headrace_instrumented__"
_OWN = "__headrace_fields__"  # set on an instance outside of any call


class Options(NamedTuple):
    """What a class was instrumented with."""

    fields: tuple[str, ...]
    sinks: tuple[BaseSink, ...] | None
    inputs: bool
    outputs: bool
    operations: frozenset[str] | None
    wanted: Callable[[HeadraceEvent], bool] | None


@overload
def instrument(cls: C, /) -> C: ...
@overload
def instrument(
    *,
    stream_fields: Iterable[str] = (),
    sinks: Iterable[BaseSink] | None = None,
    include_inputs: bool = True,
    include_outputs: bool = True,
    operations: Iterable[str] | None = None,
    event_filter: ambient.EventFilter | None = None,
) -> Callable[[C], C]: ...


def instrument(
    cls: Any = None,
    /,
    *,
    stream_fields: Iterable[str] = (),
    sinks: Iterable[BaseSink] | None = None,
    include_inputs: bool = True,
    include_outputs: bool = True,
    operations: Iterable[str] | None = None,
    event_filter: ambient.EventFilter | None = None,
) -> Any:
    """Make each call of a `dspy.Module` subclass a run, with spans, and stream its output fields.

    Instrumenting a class, or a subclass of one, for the second time has no effect.

    Args:
        stream_fields: output fields whose tokens are events while they are generated, whichever predictor inside
            has them. A name that none has is an error when the module is called.
        sinks: where events go; default: what `configure` says, else the terminal.
        include_inputs, include_outputs: whether spans say what was given and what came out.
        operations: kinds of spans to tell of: module, predictor, lm, tool, adapter, trace (`forward` is module).
            Default: all.
        event_filter: which events are sent: a function, or their types.

    Raises:
        TypeError: not a subclass of `dspy.Module`.
        errors.UsageError: an operation that there is not.
    """
    if cls is not None and not (isinstance(cls, type) and issubclass(cls, dspy.Module)):
        raise TypeError(f"headrace.instrument is for subclasses of dspy.Module, not {cls!r}")
    kinds = None
    if operations is not None:
        kinds = frozenset("module" if name == "forward" else name for name in operations)
        unknown = sorted(kinds - set(OPERATIONS))
        if unknown:
            raise errors.UsageError(
                f"there is no operation {unknown[0]!r}; there are {', '.join(OPERATIONS)}"
            )
    options = Options(
        (stream_fields,) if isinstance(stream_fields, str) else tuple(stream_fields),
        None if sinks is None else tuple(sinks),
        include_inputs,
        include_outputs,
        kinds,
        ambient.as_filter(event_filter),
    )

    def decorate(cls: Any) -> Any:
        if not (isinstance(cls, type) and issubclass(cls, dspy.Module)):
            raise TypeError(f"headrace.instrument is for subclasses of dspy.Module, not {cls!r}")
        return _wrap(cls, options)

    return decorate if cls is None else decorate(cls)


def _wrap(cls: Any, options: Options) -> Any:
    if hasattr(cls, MARK):
        return cls
    internals.install(callbacks.find_tap)
    plain_call, plain_acall = cls.__call__, cls.acall

    @functools.wraps(plain_call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        with entered(self, args, kwargs) as scope:
            return scope.returned(plain_call(self, *args, **kwargs))

    @functools.wraps(plain_acall)
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        with entered(self, args, kwargs) as scope:
            return scope.returned(await plain_acall(self, *args, **kwargs))

    cls.__call__ = __call__
    cls.acall = acall
    cls._headrace_stream_fields = cls._streamll_stream_fields = property(_get_fields, _set_fields)
    cls.__headrace_program__ = _program
    setattr(cls, MARK, options)
    return cls


def _program(self: Any, inputs: dict[str, Any]) -> Any:
    """What `headrace.stream(module, …)` runs."""
    from headrace.integrations.dspy import program

    return program.of(self, inputs)


class _Scope:
    """A call's return value on its way out."""

    def __init__(self) -> None:
        self.value: Any = None

    def returned(self, value: Any) -> Any:
        self.value = value
        return value


@contextlib.contextmanager
def entered(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[_Scope]:
    """A call of an instrumented module: a run, or inside of one a part of it."""
    scope = _Scope()
    outer = ambient.current_frame.get()
    call = callbacks.find_call()
    if outer is None and call is not None:
        outer = call.frame
    frame = Frame(module, module.__dict__.get(_OWN, getattr(type(module), MARK).fields), outer)
    check(module, frame.fields)
    if call is not None and callbacks.watched(call):
        token = ambient.current_frame.set(frame)
        try:
            yield scope
        finally:
            ambient.current_frame.reset(token)
        return
    own = call is None or call.waiting
    if call is None:
        call = start(module, args, kwargs)
    yield from _run(call, module, frame, scope, own)


def start(module: Any, args: Sequence[Any], kwargs: dict[str, Any], **more: Any) -> Call:
    """A new run of a module."""
    options: Options = getattr(type(module), MARK)
    given = {**kwargs, **({"args": list(args)} if args else {})}
    return Call(
        type(module).__name__,
        sinks=options.sinks,
        wanted=options.wanted,
        operations=options.operations,
        inputs=options.inputs,
        outputs=options.outputs,
        attributes={"inputs": jsonable(given)} if options.inputs else {},
        **more,
    )


def _run(call: Call, module: Any, frame: Frame, scope: _Scope, own: bool) -> Iterator[_Scope]:
    """The outermost instrumented module of a run: its own run, or a part of the run of a `trace` around it."""
    call.waiting = False
    call.frame = frame
    for name, part in module.named_sub_modules(dspy.Module):
        call.names[id(part)] = name.removeprefix("self.")
    tokens = (ambient.current_call.set(call), ambient.current_frame.set(frame))
    ended: BaseException | None = None
    try:
        watchers = [*(dspy.settings.get("callbacks") or ()), callbacks.Watcher(call, module if own else None)]
        with dspy.settings.context(callbacks=watchers):
            yield scope
    except BaseException as error:
        ended = error
        raise
    finally:
        ambient.current_call.reset(tokens[0])
        ambient.current_frame.reset(tokens[1])
        if own:
            call.end(ended, jsonable(scope.value) if call.outputs and ended is None else None)


def check(module: Any, fields: Sequence[str]) -> None:
    """See that the fields are there.

    Raises:
        errors.UsageError: no predictor of the module has a field of that name; the message lists those there are.
    """
    if not fields:
        return
    there: dict[str, list[str]] = {}
    for name, predictor in module.named_sub_modules(dspy.Predict):
        for field in predictor.signature.output_fields:
            there.setdefault(field, []).append(name.removeprefix("self.") or type(module).__name__)
    missing = [field for field in fields if field not in there]
    if missing and there:
        listed = ", ".join(f"{field!r} ({', '.join(names)})" for field, names in there.items())
        raise errors.UsageError(
            f"{type(module).__name__} has no output field {missing[0]!r} to stream; there are {listed}",
            details={"missing": missing, "fields": list(there)},
        )


def _get_fields(self: Any) -> list[str]:
    frame = _frame_of(self)
    if frame is not None:
        return list(frame.fields)
    return list(self.__dict__.get(_OWN, getattr(type(self), MARK).fields))


def _set_fields(self: Any, fields: Iterable[str] | None) -> None:
    """The fields of the call this code is in; outside of any, of the calls to come."""
    chosen = (fields,) if isinstance(fields, str) else tuple(fields or ())
    frame = _frame_of(self)
    if frame is not None:
        check(self, chosen)
        frame.fields = chosen
    else:
        self.__dict__[_OWN] = chosen


def _frame_of(module: Any) -> Frame | None:
    call = callbacks.find_call()
    frame = ambient.current_frame.get() or (call.frame if call is not None else None)
    while frame is not None and frame.module is not module:
        frame = frame.parent
    return frame
