"""What DSPy says it does, as spans: its public callbacks, one object a call.

Modules, predictors, LMs, tools and adapters each tell of their beginning and end. The span that a new one is in is
found by DSPy's own id of the call (which its threads carry along), or is an open `trace` in that call. An adapter
that formats a prompt says which format the answer will have. Next: `decorator`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from headrace.integrations.dspy import ambient, internals
from headrace.integrations.dspy.call import Call, Frame, Span, jsonable
from headrace.integrations.dspy.predicting import Predicting, Tap


def find_call() -> Call | None:
    """The call this code is in. A thread that DSPy made has no context of ours, but DSPy's settings."""
    call = ambient.current_call.get()
    if call is None:
        for callback in dspy.settings.get("callbacks") or ():
            if isinstance(callback, Watcher):
                return callback.call
    return call


def watched(call: Call) -> bool:
    """Whether what DSPy does here is told to this call already."""
    found = dspy.settings.get("callbacks") or ()
    return any(isinstance(callback, Watcher) and callback.call is call for callback in found)


def find_tap() -> Tap | None:
    """The tap of the LM call this code is in."""
    call = find_call()
    span = None if call is None else call.by_id.get(internals.active_call_id() or "")
    return None if span is None else span.tap


def current(call: Call) -> Span:
    """The innermost span of a call that this code is in."""
    active = internals.active_call_id()
    trace = ambient.current_trace.get()
    if trace is not None and trace.active == active:
        return trace
    return call.by_id.get(active or "", trace or call.root)


class Watcher(BaseCallback):  # type: ignore[misc]  # DSPy is not there where types are checked
    """Makes spans of one call from DSPy's callbacks."""

    def __init__(self, call: Call, module: Any) -> None:
        self.call = call
        self._module: Any = module  # until its own beginning was seen

    # modules and predictors

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        call = self.call
        if instance is self._module:
            self._module = None
            call.by_id[call_id] = call.root
            if not isinstance(instance, dspy.Predict):
                return
            span = call.root
        else:
            predictor = isinstance(instance, dspy.Predict)
            name = call.names.get(id(instance)) or type(instance).__name__
            attributes = self._inputs(_arguments(inputs))
            span = call.open("predictor" if predictor else "module", name, current(call), attributes)
            call.by_id[call_id] = span
        if isinstance(instance, dspy.Predict):
            frame = ambient.current_frame.get() or call.frame
            given = _arguments(inputs).get("signature")
            signature = instance.signature if given is None else dspy.ensure_signature(given)
            span.predicting = predicting(call, span, signature, frame)

    def on_module_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        span = self.call.by_id.pop(call_id, None)
        if span is None:
            return
        if span.predicting is not None:
            found = isinstance(outputs, dspy.Prediction)
            span.predicting.end(_Fields(outputs) if found else None)
        if span is not self.call.root:
            self.call.close(span, exception, self._outputs(outputs))

    # models

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        call = self.call
        parent = current(call)
        model = str(getattr(instance, "model", "") or type(instance).__name__)
        given = {"messages": inputs.get("messages") or inputs.get("prompt")}
        span = call.open("lm", model, parent, {"model": model, **self._inputs(given)})
        owner: Span | None = parent
        while owner is not None and owner.predicting is None:
            owner = owner.parent
        span.tap = Tap(call, span, owner.predicting if owner is not None else None)
        span.active = instance
        call.by_id[call_id] = span

    def on_lm_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        span = self.call.by_id.pop(call_id, None)
        if span is None:
            return
        span.cached = exception is None and internals.is_from_cache(span.active, span.tap)
        span.tap.asked = not span.cached
        span.tap.end(internals.text_of(outputs) if exception is None else None)
        self.call.close(span, exception, self._outputs(outputs))

    # tools

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        name = str(getattr(instance, "name", None) or type(instance).__name__)
        span = self.call.open("tool", name, current(self.call), self._inputs(inputs.get("kwargs", inputs)))
        self.call.by_id[call_id] = span

    def on_tool_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        span = self.call.by_id.pop(call_id, None)
        if span is not None:
            if asyncio.iscoroutine(outputs):
                outputs = None  # an async tool called without await: not ours to look into
            self.call.close(span, exception, self._outputs(outputs))

    # adapters

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        parent = current(self.call)
        predictor: Span | None = parent
        while predictor is not None and predictor.predicting is None:
            predictor = predictor.parent
        if predictor is not None:
            found: Predicting = predictor.predicting
            found.format, found.entities = internals.format_of(instance)
            given = inputs.get("signature") or (*inputs.get("args", ()), None)[0]
            given = given or inputs.get("kwargs", {}).get("signature")
            found.parsed = set(given.output_fields) if given is not None else set(found.kinds)
        self._adapter(call_id, instance, "format", parent)

    def on_adapter_format_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        self._adapter_end(call_id, exception)

    def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._adapter(call_id, instance, "parse", current(self.call))

    def on_adapter_parse_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        self._adapter_end(call_id, exception)

    def _adapter(self, call_id: str, instance: Any, what: str, parent: Span) -> None:
        if parent.kind == "adapter" and parent.active is instance:
            return  # DSPy wraps an inherited method once for each subclass
        span = self.call.open("adapter", f"{type(instance).__name__}.{what}", parent, {})
        span.active = instance
        self.call.by_id[call_id] = span

    def _adapter_end(self, call_id: str, exception: BaseException | None) -> None:
        span = self.call.by_id.pop(call_id, None)
        if span is not None:
            self.call.close(span, exception)

    def _inputs(self, values: Any) -> dict[str, Any]:
        return {"inputs": jsonable(values)} if self.call.inputs else {}

    def _outputs(self, value: Any) -> Any:
        return jsonable(value) if self.call.outputs and value is not None else None


class _Fields(Mapping[str, Any]):
    """A prediction as a mapping: DSPy's own has no `in` that knows of `items`."""

    def __init__(self, prediction: Any) -> None:
        self._store = dict(prediction.items(include_dspy=False))

    def __getitem__(self, name: str) -> Any:
        return self._store[name]

    def __iter__(self) -> Any:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


def predicting(call: Call, span: Span, signature: Any, frame: Frame | None) -> Predicting:
    """What a predictor that begins will show."""
    kinds = {name: internals.kind_of(field.annotation) for name, field in signature.output_fields.items()}
    wanted = set(frame.wanted()) & set(kinds) if frame is not None else set()
    return Predicting(call, span, kinds, wanted)


def _arguments(inputs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a module's call, by name where they have one."""
    found = dict(inputs.get("kwargs") or {})
    if inputs.get("args"):
        found["args"] = list(inputs["args"])
    return found
