"""Everything here that DSPy does not promise, and nothing else: how an LM is made to stream below DSPy's own logic.

DSPy offers no place to see an answer while it forms but `streamify`, which changes what the program does (see the
package). So two places inside it are wrapped, once, for all LMs; both do what they did before wherever no tap is
found for the call:

- `dspy.clients.lm.litellm_completion` and its five siblings (DSPy 2.6 and later): a chat completion is asked for as a
  stream and put together again with LiteLLM's own `stream_chunk_builder`, as DSPy does it.
- `dspy.clients.execution._engine` (DSPy 3.4 and later): the engine it gives is wrapped; its `complete` reads the
  engine's `stream` and puts it together with the accumulator that DSPy uses.

Above them are DSPy's cache, retries, fallbacks, usage and history, which see one whole answer. Relied on beside them:
`ACTIVE_CALL_ID` (which call this code is in), the adapters' classes, and `XMLAdapter.parse` (whether it undoes
entities). `tests/integrations/dspy/test_internals.py` has them all, and names the versions it was run with.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import structlog

from headrace.integrations.dspy import fields
from headrace.integrations.dspy.predicting import Tap
from headrace.messages import Usage

log = structlog.get_logger("headrace.dspy")

RUN_WITH = ("3.0.4", "3.2.1", "3.4.1")
"""The versions of DSPy that the tests were run with: an old one, one in between, the newest."""

FindTap = Callable[[], Tap | None]

_lock = threading.Lock()
_installed = False
_whole = True  # every place was found


def active_call_id() -> str | None:
    """The id of the innermost call of DSPy (a module, an LM, a tool) that this code is in."""
    from dspy.utils import callback

    variable = getattr(callback, "ACTIVE_CALL_ID", None)
    found: str | None = None if variable is None else variable.get()
    return found


def install(find_tap: FindTap) -> None:
    """Wrap what has to be wrapped; the second time nothing happens.

    Where a DSPy to come has moved one of these places, programs go on and fields are told at their end, in one piece.

    Args:
        find_tap: gives the tap of the LM call that the code is in, if it has one.
    """
    global _installed, _whole
    with _lock:
        if _installed:
            return
        from dspy.clients import lm as lm_module

        for name in ("completion", "text_completion", "responses_completion"):
            streams = name == "completion"
            for prefix, wrap in (("litellm_", _sync), ("alitellm_", _async)):
                function = getattr(lm_module, prefix + name, None)
                if function is not None:
                    setattr(lm_module, prefix + name, wrap(function, lm_module, find_tap, streams))
                else:
                    _whole = False
        try:
            from dspy.clients import execution
        except ImportError:
            pass  # before 3.4
        else:
            choose = getattr(execution, "_engine", None)
            if choose is not None:
                execution._engine = _engine(choose, find_tap)
            else:
                _whole = False
        if not _whole:
            log.warning("this DSPy is not one of those known; its tokens may not stream", known=RUN_WITH)
        _installed = True


# -- LiteLLM's completions -----------------------------------------------------------------------------------


def _sync(original: Any, lm_module: Any, find_tap: FindTap, streams: bool) -> Any:
    @functools.wraps(original)
    def completion(request: dict[str, Any], num_retries: int, cache: dict[str, Any] | None = None) -> Any:
        tap = find_tap()
        if tap is None:
            return original(request=request, num_retries=num_retries, cache=cache)
        with tap.asking():
            return asked(tap, request, num_retries, cache)

    def asked(tap: Tap, request: dict[str, Any], num_retries: int, cache: dict[str, Any] | None) -> Any:
        tap.begin()
        if not (streams and _streams(request, tap)):
            return _noted(tap, original(request=request, num_retries=num_retries, cache=cache))
        litellm, options = _options(lm_module, request, num_retries, cache)
        chunks = []
        try:
            stream = litellm.completion(**options)
            with contextlib.closing(_Closing(stream)):
                for chunk in stream:
                    chunks.append(chunk)
                    _chunk(tap, chunk)
        except Exception:
            if not chunks or num_retries <= 0:
                raise
            # broken off: LiteLLM's retries are for answers that are not streamed, so ask for one
            tap.begin()
            return _noted(tap, original(request=request, num_retries=num_retries, cache=cache))
        return _noted(tap, litellm.stream_chunk_builder(chunks, messages=request.get("messages")))

    return completion


def _async(original: Any, lm_module: Any, find_tap: FindTap, streams: bool) -> Any:
    @functools.wraps(original)
    async def acompletion(
        request: dict[str, Any], num_retries: int, cache: dict[str, Any] | None = None
    ) -> Any:
        tap = find_tap()
        if tap is None:
            return await original(request=request, num_retries=num_retries, cache=cache)
        tap.begin()
        if not (streams and _streams(request, tap)):
            return _noted(tap, await original(request=request, num_retries=num_retries, cache=cache))
        litellm, options = _options(lm_module, request, num_retries, cache)
        chunks = []
        try:
            stream = await litellm.acompletion(**options)
            try:
                async for chunk in stream:
                    chunks.append(chunk)
                    _chunk(tap, chunk)
            finally:
                await _aclose(stream)
        except Exception:
            if not chunks or num_retries <= 0:
                raise
            tap.begin()  # as in `_sync`
            return _noted(tap, await original(request=request, num_retries=num_retries, cache=cache))
        return _noted(tap, litellm.stream_chunk_builder(chunks, messages=request.get("messages")))

    return acompletion


def _streams(request: dict[str, Any], tap: Tap) -> bool:
    import dspy

    return tap.live and (request.get("n") or 1) == 1 and dspy.settings.send_stream is None


def _options(
    lm_module: Any, request: dict[str, Any], num_retries: int, cache: dict[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """LiteLLM, and what DSPy would ask it for, as a stream."""
    get = getattr(lm_module, "_get_litellm", None)
    if get is None:
        import litellm
    else:
        litellm = get()
    request = dict(request)
    request.pop("rollout_id", None)
    headers = request.pop("headers", None)
    named = getattr(lm_module, "_add_dspy_identifier_to_headers", None) or getattr(
        lm_module, "_get_headers", None
    )
    usage = {"include_usage": True, **(request.pop("stream_options", None) or {})}
    return litellm, {
        "cache": cache or {"no-cache": True, "no-store": True},
        "num_retries": num_retries,
        "retry_strategy": "exponential_backoff_retry",
        "headers": named(headers) if named is not None else headers,
        **request,
        "stream": True,
        "stream_options": usage,
    }


def _chunk(tap: Tap, chunk: Any) -> None:
    for choice in getattr(chunk, "choices", None) or ():
        delta = getattr(choice, "delta", None)
        tap.text(getattr(delta, "content", None) or "")
        tap.reason(getattr(choice, "finish_reason", None))


def _noted(tap: Tap, raw: Any) -> Any:
    """A whole answer of LiteLLM's: its usage, and why it ended."""
    tap.usage(
        _usage(
            getattr(raw, "usage", None),
            input_tokens="prompt_tokens",
            output_tokens="completion_tokens",
            cached_tokens="prompt_tokens_details.cached_tokens",
            reasoning_tokens="completion_tokens_details.reasoning_tokens",
        )
    )
    for choice in getattr(raw, "choices", None) or ():
        tap.reason(getattr(choice, "finish_reason", None))
    return raw


class _Closing:
    """A LiteLLM stream, whose own `close` only some versions have: the HTTP response is what has to be closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def close(self) -> None:
        for owner in (self._stream, getattr(self._stream, "completion_stream", None)):
            close = getattr(owner, "close", None)
            if close is not None and not inspect.iscoroutinefunction(close):
                close()
                return


async def _aclose(stream: Any) -> None:
    for owner in (stream, getattr(stream, "completion_stream", None)):
        close = getattr(owner, "aclose", None) or getattr(owner, "close", None)
        if close is not None:
            found = close()
            if inspect.isawaitable(found):
                await found
            return


# -- DSPy's engines ------------------------------------------------------------------------------------------


def _engine(original: Any, find_tap: FindTap) -> Any:
    @functools.wraps(original)
    def engine(lm: Any, call: Any, asynchronous: bool) -> Any:
        backend, request, provider = original(lm, call, asynchronous)
        tap = find_tap()
        if tap is None:
            return backend, request, provider
        tap.asked = True
        live = tap.live and call.n == 1 and request is not None and hasattr(backend, "stream")
        wrapped = _AsyncEngine if asynchronous else _SyncEngine
        return wrapped(backend, tap, provider, live), request, provider

    return engine


class _Wrapped:
    def __init__(self, backend: Any, tap: Tap, provider: Any, live: bool) -> None:
        self._backend = backend
        self._tap = tap
        self._provider = provider
        self._live = live

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def _event(self, event: Any) -> None:
        if event.type == "delta" and event.delta.type == "text":
            self._tap.text(event.delta.text)
        elif event.type == "end":
            self._tap.reason(event.finish_reason)

    def _response(self, response: Any) -> Any:
        self._tap.usage(
            _usage(
                getattr(response, "usage", None),
                input_tokens="input_tokens",
                output_tokens="output_tokens",
                cached_tokens="cache_read_tokens",
                reasoning_tokens="reasoning_tokens",
            )
        )
        self._tap.reason(getattr(response, "finish_reason", None))
        return response


class _SyncEngine(_Wrapped):
    def complete(self, request: Any) -> Any:
        with self._tap.asking():
            return self._complete(request)

    def _complete(self, request: Any) -> Any:
        self._tap.begin()
        if self._live:
            events = self._open(request)
            if events is not None:
                accumulator = _accumulator(request)
                with contextlib.closing(events):
                    for event in events:
                        accumulator.push(event)
                        self._event(event)
                return self._response(accumulator.response())
        return self._response(self._backend.complete(request))

    def stream(self, request: Any) -> Iterator[Any]:
        """DSPy streams by itself (`streamify` around us): what passes is seen here too."""
        self._tap.begin()
        with contextlib.closing(self._backend.stream(request)) as events:
            for event in events:
                self._event(event)
                yield event

    def _open(self, request: Any) -> Any:
        """The engine's events, None where it cannot stream this."""
        from dspy.clients.engines.stream_guard import checked_stream
        from dspy.lm15 import UnsupportedFeatureError

        events = checked_stream(self._backend.stream(request), provider=self._provider)
        try:
            first = next(events)
        except UnsupportedFeatureError:
            return None
        return _put_back(first, events)


class _AsyncEngine(_Wrapped):
    async def complete(self, request: Any) -> Any:
        self._tap.begin()
        if self._live:
            events = await self._open(request)
            if events is not None:
                accumulator = _accumulator(request)
                async with contextlib.aclosing(events):
                    async for event in events:
                        accumulator.push(event)
                        self._event(event)
                return self._response(accumulator.response())
        return self._response(await self._backend.complete(request))

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        """As `_SyncEngine.stream`."""
        self._tap.begin()
        async with contextlib.aclosing(self._backend.stream(request)) as events:
            async for event in events:
                self._event(event)
                yield event

    async def _open(self, request: Any) -> Any:
        from dspy.clients.engines.stream_guard import achecked_stream
        from dspy.lm15 import UnsupportedFeatureError

        events = achecked_stream(self._backend.stream(request), provider=self._provider)
        try:
            first = await anext(events)
        except UnsupportedFeatureError:
            return None
        return _aput_back(first, events)


def _accumulator(request: Any) -> Any:
    from dspy._vendor.lm15.result import StreamAccumulator

    return StreamAccumulator(request)


def _put_back(first: Any, events: Any) -> Iterator[Any]:
    with contextlib.closing(events):
        yield first
        yield from events


async def _aput_back(first: Any, events: Any) -> AsyncIterator[Any]:
    async with contextlib.aclosing(events):
        yield first
        async for event in events:
            yield event


def _usage(source: Any, **names: str) -> Usage | None:
    """The counts of somebody's usage object, by their names there (`a.b` is inside of `a`)."""
    known: dict[str, Any] = {}
    for name, path in names.items():
        found = source
        for step in path.split("."):
            found = getattr(found, step, None)
        if isinstance(found, int):
            known[name] = found
    return Usage(basis="reported", **known) if known else None


# -- what adapters write -------------------------------------------------------------------------------------


def adapters() -> dict[fields.Format, Any]:
    """The adapters whose format is known, those that are subclasses of another first."""
    import dspy
    from dspy.adapters.xml_adapter import XMLAdapter  # not at the top of every version

    return {"json": dspy.JSONAdapter, "xml": XMLAdapter, "chat": dspy.ChatAdapter}


def format_of(adapter: Any) -> tuple[fields.Format | None, bool]:
    """The format an adapter has its answers in, None where it is not known, and whether it undoes XML entities."""
    for name, cls in adapters().items():
        if isinstance(adapter, cls):
            if _unwrapped(type(adapter).parse) is not _unwrapped(cls.parse):
                return None, False  # a format of somebody's own
            return name, name == "xml" and _undoes_entities(cls)
    return None, False


def _unwrapped(function: Any) -> Any:
    """Without the callbacks that DSPy wraps around an adapter's methods, once for each subclass."""
    return inspect.unwrap(function)


@functools.cache
def _undoes_entities(adapter: Any) -> bool:
    import dspy

    try:
        found = _unwrapped(adapter.parse)(
            adapter(), dspy.Signature("question -> answer"), "<answer>&lt;</answer>"
        )
    except Exception as error:  # whatever it does instead, it does not undo them
        log.debug("the XML adapter could not be tried", error=str(error))
        return False
    return bool(found.get("answer") == "<")


def kind_of(annotation: Any) -> fields.Kind:
    """Whether an output field of this type is a text (as DSPy reads it), or JSON."""
    import enum
    import types
    import typing

    import dspy

    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        return kind_of(inner[0]) if len(inner) == 1 else "json"
    if origin is typing.Literal:
        return "text" if all(isinstance(a, str) for a in typing.get_args(annotation)) else "json"
    if isinstance(annotation, type):
        reasoning = getattr(dspy, "Reasoning", None)
        if issubclass(annotation, str) or annotation is reasoning:
            return "text"
        if issubclass(annotation, enum.Enum):
            return "text" if all(isinstance(member.value, str) for member in annotation) else "json"
    return "json"


def is_from_cache(lm: Any, tap: Tap) -> bool:
    """Whether an LM answered without asking anybody. An LM with a `forward` of its own is its own business."""
    import dspy

    if tap.asked or not _whole:
        return False
    own = type(lm).forward is not dspy.LM.forward or type(lm).__call__ is not dspy.LM.__call__
    return isinstance(lm, dspy.LM) and not own


def text_of(outputs: Any) -> str | None:
    """The text of the first answer, of what an LM's call returned."""
    if isinstance(outputs, list | tuple) and outputs:
        first = outputs[0]
        if isinstance(first, dict):
            first = first.get("text")
        return first if isinstance(first, str) else None
    return None
