"""Running a template: an engine program that walks the plan, asks the slots, and keeps what they came to.

    plan ─► segments whose needs are met, at once ─► nodes in order ─► slot: messages ─► cache ─► model ─► value

A value is put into messages, never into source, so nothing that comes in or is answered can open a slot, a role
or a tag. One limit on calls at the same time holds over everything: a place is held only while a provider is
being asked, never while anything else is waited for, so it cannot deadlock. It is long because a run, a walk
through a segment and a question share one state and are read together. Next: `values`, `api`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.messages import Message, Usage
from headrace.runs.attempts import Answer
from headrace.runs.context import Context, Span
from headrace.runs.spec import Fields
from headrace.templates import actions, caching, expressions, faults, options, syntax
from headrace.templates import plan as plans
from headrace.templates.expressions import plain, show
from headrace.templates.plan import Plan, SegmentPlan
from headrace.templates.types import Shape

RETRIES = 1
"""How often a slot is asked again whose answer does not fit, where it does not say."""
MAX_TURNS = 20_000
"""Of all loops of a run: a loop over too much ends as an error, not as a bill or a busy server."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """One answered slot.

    Attributes:
        value: the Python value.
        prompt: the text of the last message that was sent.
        messages: all that was sent, the first time it was asked.
        usage: tokens and cost of its calls; None where nothing was asked (a cached answer).
        started_ms, elapsed_ms: since the run began, and how long it took, milliseconds.
        first_token_ms: from its start to its first token, None where nothing streamed.
        attempts: calls to providers.
    """

    key: str
    segment: int
    span: str
    value: Any = None
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    usage: Usage | None = None
    started_ms: float = 0.0
    elapsed_ms: float = 0.0
    first_token_ms: float | None = None
    cached: bool = False
    attempts: int = 0
    provider: str = ""
    model: str = ""
    finish_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in the run's result; what is not known is absent."""
        found: dict[str, Any] = {
            "prompt": self.prompt,
            "messages": [{"role": m.role, "content": m.text} for m in self.messages],
            "usage": None if self.usage is None else msgspec.to_builtins(self.usage),
            "started_ms": self.started_ms,
            "elapsed_ms": self.elapsed_ms,
            "first_token_ms": self.first_token_ms,
            "cached": self.cached,
            "attempts": self.attempts,
            "provider": self.provider,
            "model": self.model,
            "finish_reason": self.finish_reason,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(slots=True, kw_only=True)
class How:
    """How a template is run.

    Attributes:
        stop_at: the slot after which the run ends.
        stream: False asks for whole answers and shows no tokens.
        cache: where answers are kept; None asks always.
        pace: a cached answer comes at the pace it was recorded with.
        gate: the limit on calls at the same time.
    """

    stop_at: str | None = None
    stream: bool = True
    cache: caching.Cache | None = None
    pace: bool = False
    gate: asyncio.Semaphore
    functions: Mapping[str, actions.Function] = field(default_factory=dict)


class _Stop(Exception):
    """The run ends here, with what it has."""


class Execution:
    """One run of a template; call it with the run's context.

    Attributes:
        asked: every answered slot, in the order of their ends.
        values: slot to Python value; of a slot in a loop, the list of its values.
        early: whether the run ended before the template did.
    """

    def __init__(self, plan: Plan, inputs: Mapping[str, Any], how: How) -> None:
        self.plan = plan
        self.how = how
        self.inputs = dict(inputs)
        self.asked: list[Asked] = []
        self.values: dict[str, Any] = {}
        self.early = False
        self.began = time.monotonic()
        self.scopes: dict[int, dict[str, Any]] = {}
        self.stopped: int | None = None
        self.turns = 0
        self.looped = _looped(plan)

    async def __call__(self, context: Context) -> Fields:
        """The program.

        Raises:
            faults.TemplateError: a value that an option took from a variable does not fit.
            errors.HeadraceError: a slot could not be answered; `details` name it.
        """
        self.context = context
        self.began = time.monotonic()
        last = self._last()
        ready = [asyncio.Event() for _ in self.plan.segments]

        async def segment(index: int, planned: SegmentPlan) -> None:
            for need in sorted(planned.needs):
                await ready[need].wait()
            if self.stopped is None or self.stopped > index:
                await self._segment(index, planned)
            ready[index].set()

        try:
            await gather(
                [segment(i, planned) for i, planned in enumerate(self.plan.segments[: last + 1])],
            )
        finally:
            context.value = self.fields()
        return self.fields()

    def _last(self) -> int:
        """The index of the last segment that has to be run."""
        if self.how.stop_at is None:
            return len(self.plan.segments) - 1
        for index, planned in enumerate(self.plan.segments):
            if any(slot.key == self.how.stop_at for slot in planned.slots):
                return index
        known = [slot.key for slot in self.plan.slots]
        raise errors.UsageError(
            f"there is no slot {self.how.stop_at!r} to stop at{faults.meant(self.how.stop_at, known)}",
            code="bad-request",
        )

    async def _segment(self, index: int, planned: SegmentPlan) -> None:
        scope = dict(self.inputs)
        for need in sorted(planned.needs & set(self.scopes)):
            names = self.plan.segments[need].defines
            scope |= {name: value for name, value in self.scopes[need].items() if name in names}
        walk = _Walk(self, index, planned, scope)
        try:
            await walk.nodes(planned.segment.nodes, "user")
        except _Stop:
            self.early = True
            self.stopped = index if self.stopped is None else min(self.stopped, index)
        self.scopes[index] = walk.scope
        if index + 1 < len(self.plan.segments):
            self.context.emit(
                events.Checkpoint(index=index, name=planned.segment.name, results=plain(self.values))
            )

    def each(self, node: syntax.For, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The turns of a loop, within the limit of the run.

        Raises:
            faults.TemplateError: there are too many, or it is no list.
        """
        turns = each(node, scope)
        self.turns += len(turns)
        if self.turns > MAX_TURNS:
            raise faults.at(node.place, f"the loops of this run take more than {MAX_TURNS:,} turns")
        return turns

    def keep(self, asked: Asked) -> None:
        """Note an answer."""
        self.asked.append(asked)
        if asked.key in self.looped:
            self.values.setdefault(asked.key, []).append(asked.value)
        else:
            self.values[asked.key] = asked.value

    def fields(self) -> Fields:
        """The run's result so far."""
        order = {slot.key: i for i, slot in enumerate(self.plan.slots)}
        values = dict(sorted(self.values.items(), key=lambda item: order.get(item[0], len(order))))
        self.values = values
        slots: dict[str, Any] = {}
        for asked in self.asked:
            if asked.key in self.looped:
                slots.setdefault(asked.key, []).append(asked.to_json())
            else:
                slots[asked.key] = asked.to_json()
        usage = self.context.usage
        return Fields(
            values=plain(values),
            early_termination=self.early,
            usage=None if usage is None else msgspec.to_builtins(usage),
            slots=slots,
        )


def _looped(plan: Plan) -> set[str]:
    """Names of slots that stand in a loop: they have a list of values."""
    found: set[str] = set()
    for planned in plan.segments:
        for node in syntax.walk(planned.segment.nodes):
            if isinstance(node, syntax.For):
                found |= {n.key for n in syntax.walk(node.body) if isinstance(n, syntax.Slot)}
    return found


async def gather(work: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Run coroutines together; the first error stops the others and is raised, alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failed:
        error: BaseException = failed
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


@dataclass(slots=True)
class _Question:
    """A slot of a `<together>` block: what stands before it, and the variables as they are there."""

    slot: syntax.Slot
    before: list[Message]
    scope: dict[str, Any]


class _Walk:
    """A walk through one segment: its conversation, its variables, the system text that holds."""

    def __init__(self, run: Execution, index: int, planned: SegmentPlan, scope: dict[str, Any]) -> None:
        self.run = run
        self.index = index
        self.scope = scope
        self.systems: tuple[syntax.System, ...] = planned.systems
        self.history: list[Message] = []
        self.pending: list[tuple[messages.Role, str]] = []
        self.together: list[_Question] | None = None

    async def nodes(self, nodes: Sequence[syntax.Node], role: messages.Role) -> None:
        """Walk nodes in order."""
        for node in nodes:
            await self.node(node, role)

    async def node(self, node: syntax.Node, role: messages.Role) -> None:
        """Do what one node says."""
        match node:
            case syntax.Text(text=text):
                self.pending.append((role, text))
            case syntax.Show(expression=expression):
                self.pending.append((role, show(expression.value(self.scope))))
            case syntax.Slot():
                await self._slot(node)
            case syntax.Action():
                await self._action(node, role)
            case syntax.Set(targets=targets, expression=expression):
                assign(self.scope, targets, expression.value(self.scope), node)
            case syntax.If():
                await self.nodes(branch(node, self.scope), role)
            case syntax.For():
                items = self.run.each(node, self.scope)
                before = dict(self.scope)
                for bound in items:
                    self.scope.update(bound)
                    await self.nodes(node.body, role)
                restore(self.scope, before, [*syntax.names(node.targets), "loop"])
                if not items:
                    await self.nodes(node.otherwise, role)
            case syntax.Role(role=inner, body=body):
                self.pending.append((inner, ""))
                await self.nodes(body, inner)
            case syntax.System():
                self.systems = plans.carried(self.systems, node)
            case syntax.Together(body=body):
                await self._together(body, role)

    # slots

    async def _slot(self, slot: syntax.Slot) -> None:
        if self.together is not None:
            self.together.append(_Question(slot, self._taken(), dict(self.scope)))
            return
        before = self._taken()
        question = question_of(slot, [*self.history, *before])
        value = await self._ask(slot, question, self.scope)
        self.history = [*question, messages.assistant(show(value))]
        self.scope[slot.key] = value
        if slot.key == self.run.how.stop_at:
            raise _Stop

    async def _together(self, body: Sequence[syntax.Node], role: messages.Role) -> None:
        """Ask all slots inside at the same time: each sees what stands before the block, and its own text."""
        common = [*self.history, *self._taken()]
        questions: list[_Question] = []
        self.together = questions
        await self.nodes(body, role)
        self.together = None
        answers: dict[int, Any] = {}

        async def one(number: int, asked: _Question) -> None:
            thread = question_of(asked.slot, joined([*common, *asked.before]))
            answers[number] = await self._ask(asked.slot, thread, asked.scope)

        await gather([one(number, asked) for number, asked in enumerate(questions)])
        self.history = common
        for number, asked in enumerate(questions):
            thread = question_of(asked.slot, joined([*self.history, *asked.before]))
            self.history = [*thread, messages.assistant(show(answers[number]))]
            self.scope[asked.slot.key] = answers[number]
        if any(asked.slot.key == self.run.how.stop_at for asked in questions):
            raise _Stop

    def _taken(self) -> list[Message]:
        """The text since the last slot as messages."""
        taken, self.pending = self.pending, []
        merged: list[tuple[messages.Role, list[str]]] = []
        for role, text in taken:
            if not merged or merged[-1][0] != role:
                merged.append((role, []))
            merged[-1][1].append(text)
        texts = [(role, "".join(parts).strip()) for role, parts in merged]
        return joined([Message(role, (messages.Text(text),)) for role, text in texts if text])

    def _leading(self, scope: Mapping[str, Any]) -> list[Message]:
        """The system message and the header as they are now."""
        found: list[Message] = []
        for kind, make in (("system", messages.system), ("header", messages.user)):
            texts = [
                render(s.body, dict(scope), self.run.each).strip() for s in self.systems if s.kind == kind
            ]
            text = "\n\n".join(text for text in texts if text)
            if text:
                found.append(make(text))
        return found

    async def _ask(self, slot: syntax.Slot, thread: list[Message], scope: dict[str, Any]) -> Any:
        run, context = self.run, self.run.context
        kind = run.plan.types[slot.type]
        shape = Shape(slot, kind, kind.options(slot, scope))
        began = time.monotonic()
        streams = shape.free and run.how.stream and shape.options.call.get("stream", True)
        attributes = {"segment": self.index, "key": slot.key, "type": slot.type, "streams": streams}
        async with context.span("slot", slot.key, attributes=attributes) as span:
            asked = Asked(key=slot.key, segment=self.index, span=span.id, started_ms=_ms(began - run.began))
            try:
                await _Asking(run, shape, [*self._leading(scope), *thread], streams, span, asked).answer()
            except errors.HeadraceError as error:
                for name, what in (("slot", slot.key), ("segment", self.index), ("span", span.id)):
                    error.details.setdefault(name, what)
                raise
            asked.elapsed_ms = _ms(time.monotonic() - began)
            span.value = plain(asked.value)
            span.cached = asked.cached
            run.keep(asked)
        return asked.value

    # actions

    async def _action(self, action: syntax.Action, role: messages.Role) -> None:
        by_place, by_name = options.arguments(action, self.scope)
        function = self.run.how.functions.get(action.name)
        shown: messages.Role | None = None if action.key else role
        value: Any
        match action.name:
            case _ if function is not None:
                value = await function.run(action.name, action.place, by_place, by_name)
                shown = function.role
            case "set":
                self.scope.update(by_name)
                value, shown = (by_place[0] if by_place else None), None
            case "break":
                if all(by_place) and all(by_name.values()):
                    raise _Stop
                return
            case "timestamp":
                value = actions.timestamp(*map(str, by_place[:1]))
            case _:
                value = "\n\n".join(f"{m.role}: {m.text}" for m in self.history)
        if action.key is not None:
            self.scope[action.key] = value
        if shown is not None:
            self.pending.append((shown, show(value)))


class _Asking:
    """One slot being asked, until its answer fits."""

    def __init__(
        self,
        run: Execution,
        shape: Shape,
        thread: list[Message],
        streams: bool,
        span: Span,
        asked: Asked,
    ) -> None:
        self.run = run
        self.context = run.context
        self.shape = shape
        self.streams = streams
        self.span = span
        self.asked = asked
        call = shape.options.call
        spec = self.context.spec
        model = call.get("model") or spec.model
        self.names: tuple[str, ...] = (model, *call.get("fallback", spec.fallbacks))
        self.schema = None if shape.free else shape.schema()
        self.by_wire = self.schema is not None and self._takes_schemas()
        self.thread = instructed(shape, thread, None if self.by_wire else self.schema)
        asked.messages = tuple(self.thread)
        asked.prompt = self.thread[-1].text
        self.parameters: dict[str, Any] = {
            "temperature": call.get(
                "temperature", shape.type.temperature if spec.temperature is None else spec.temperature
            ),
            "max_tokens": call.get("max_tokens", spec.max_tokens),
            "seed": call.get("seed", spec.seed),
            "reasoning_effort": call.get("thinking", spec.reasoning_effort),
            "output_schema": self.schema if self.by_wire else None,
        }

    def _takes_schemas(self) -> bool:
        provider, model = self.context.provider(self.names[0])
        return provider.capabilities(model).json_schema

    async def answer(self) -> None:
        """Ask, or look up; the value is in `asked` afterwards."""
        store = self.run.how.cache if self.shape.options.call.get("cache", True) else None
        if store is None:
            await self._fresh()
            return
        entry, known = await store.get(self._key(), self._fresh)
        if known:
            self.asked.cached = True
            self.asked.provider, self.asked.model = entry.provider, entry.model
            self.asked.finish_reason = entry.finish_reason
            self.asked.value = self.shape.value(entry.text)
            await self._replay(entry)

    def _key(self) -> str:
        endpoints = []
        for name in self.names:
            try:
                provider, model = self.context.provider(name)
            except errors.HeadraceError:
                endpoints.append([name])
                continue
            endpoints.append([provider.name, caching.endpoint(provider), model])
        spec = self.context.spec
        return caching.key(
            owner=spec.owner,
            endpoints=endpoints,
            failover=spec.failover,
            messages=[msgspec.to_builtins(message) for message in self.thread],
            parameters=self.parameters,
            more=[
                spec.top_p,
                spec.stop,
                spec.options,
                self.shape.options.limits,
                self.shape.options.required,
            ],
            schema=self.schema,
            type=[self.shape.slot.type, self.shape.slot.listed],
        )

    async def _replay(self, entry: caching.Entry) -> None:
        """Show a kept answer as it came."""
        if not self.streams:
            return
        block, context, span = self.context.new_block(), self.context, self.span.id
        context.emit(events.TextStart(block=block), span=span)
        if self.run.how.pace:
            past = 0.0
            for at, text in entry.deltas:
                await asyncio.sleep(max(at - past, 0.0) / 1000)
                past = at
                context.emit(events.TextDelta(block=block, delta=text), span=span)
        else:
            context.emit(*(events.TextDelta(block=block, delta=text) for _, text in entry.deltas), span=span)
        context.emit(events.TextEnd(block=block), span=span)

    async def _fresh(self) -> caching.Entry:
        retries = self.shape.options.call.get("retries", RETRIES)
        thread = self.thread
        for left in range(retries, -1, -1):
            tape = _Tape()
            answer = await self._call(thread, tape)
            self._note(answer, tape)
            try:
                self.asked.value = self._value(answer.text)
            except ValueError as error:
                if not left:
                    slot = self.shape.slot
                    raise errors.RunError(
                        f"{slot.place}: the answer for {slot.key!r} does not fit: {error}",
                        code="output-rejected",
                        details={"answer": answer.text[:2000], "reason": str(error)},
                    ) from error
                if answer.blocks:
                    self.context.emit(
                        events.OutputReset(blocks=list(answer.blocks), reason="validation"), span=self.span.id
                    )
                thread = [*self.thread, messages.assistant(answer.text), messages.user(again(error))]
                continue
            return caching.Entry(
                tape.deltas(answer), answer.finish_reason, provider=answer.provider, model=answer.model
            )
        raise AssertionError("the last time returns or raises")

    async def _call(self, thread: list[Message], tape: _Tape) -> Answer:
        how = self.run.how
        asks = self.shape.options.call.get("stream", how.stream) and how.stream
        async with how.gate:
            tape.began = time.monotonic()
            return await self.context.call(
                messages=thread,
                names=self.names,
                span=self.span.id,
                shown=self.streams,
                tap=tape.take,
                stream=asks and self.context.spec.stream,
                **self.parameters,
            )

    def _note(self, answer: Answer, tape: _Tape) -> None:
        asked = self.asked
        asked.attempts += answer.attempts
        asked.provider, asked.model = answer.provider, answer.model
        asked.finish_reason = self.context.finish_reason = answer.finish_reason
        if answer.usage is not None:
            asked.usage = answer.usage if asked.usage is None else asked.usage + answer.usage
        if tape.first is not None and asked.first_token_ms is None and self.streams:
            asked.first_token_ms = _ms(tape.first - self.run.began) - asked.started_ms

    def _value(self, text: str) -> Any:
        value = self.shape.value(text)
        if self.shape.options.limits.get("verify"):
            asked = _squeezed(" ".join(m.text for m in self.thread if m.role != "assistant"))
            for quote in value if isinstance(value, list) else [value]:
                if isinstance(quote, str) and _squeezed(quote) not in asked:
                    raise ValueError(f"{quote[:200]!r} does not stand in the text; copy it letter by letter")
        return value


class _Tape:
    """Records the deltas of an answer as they come, for the cache."""

    def __init__(self) -> None:
        self.began = 0.0
        self.first: float | None = None
        self._blocks: dict[str, list[tuple[float, str]]] = {}

    def take(self, batch: list[events.Event]) -> None:
        now = time.monotonic()
        for event in batch:
            if type(event) is events.TextDelta:
                self.first = self.first or now
                self._blocks.setdefault(event.block, []).append((_ms(now - self.first), event.delta))

    def deltas(self, answer: Answer) -> tuple[tuple[float, str], ...]:
        """The deltas that stand; one of the whole text where they do not add up to it."""
        wanted = answer.blocks or tuple(self._blocks)
        found = [delta for block in wanted for delta in self._blocks.get(block, ())]
        return tuple(found) if "".join(t for _, t in found) == answer.text else ((0.0, answer.text),)


# pure helpers


def question_of(slot: syntax.Slot, thread: Sequence[Message]) -> list[Message]:
    """The messages with a user message at their end: one that names the slot if need be."""
    if thread and thread[-1].role == "user":
        return list(thread)
    return [*thread, messages.user(f"{slot.key}:")]


def joined(thread: Sequence[Message]) -> list[Message]:
    """Neighbouring messages of the same role as one."""
    found: list[Message] = []
    for message in thread:
        if found and found[-1].role == message.role:
            found[-1] = Message(message.role, (messages.Text(f"{found[-1].text}\n\n{message.text}"),))
        else:
            found.append(message)
    return found


def instructed(shape: Shape, thread: Sequence[Message], schema: dict[str, Any] | None) -> list[Message]:
    """The messages as they are sent: the last one also says how to answer."""
    words = [] if shape.type.streams and not shape.type.instruction else [shape.type.instruction]
    if not shape.free:
        words.insert(0, f"Answer for {shape.slot.key!r}.")
        if shape.type.description:
            words.append(shape.type.description)
        if shape.type.name == "pick":
            words.append(f"The choices: {', '.join(map(str, shape.options.words))}.")
        if schema is not None:
            words.append(
                "Answer only with JSON that fits this JSON Schema: "
                + msgspec.json.encode(schema, enc_hook=str).decode()
            )
    text = " ".join(word for word in words if word)
    if not text:
        return list(thread)
    return [*thread[:-1], messages.user(f"{thread[-1].text}\n\n{text}")]


def again(error: ValueError) -> str:
    """What the model is told when its answer does not fit."""
    return f"That answer does not fit: {error}. Answer again, with nothing but the corrected answer."


def branch(node: syntax.If, scope: Mapping[str, Any]) -> Sequence[syntax.Node]:
    """The body whose condition holds."""
    for condition, body in node.branches:
        if condition is None or condition.value(scope):
            return body
    return ()


def each(node: syntax.For, scope: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of each turn of a loop, `loop` among them."""
    items = node.items.value(scope)
    turns: list[dict[str, Any]] = []
    try:
        found = [] if items is None else list(items)
    except TypeError as error:
        raise faults.at(node.place, f"{type(items).__name__} cannot be looped over") from error
    for item in found:
        bound: dict[str, Any] = {}
        assign(bound, node.targets, item, node)
        if node.test is None or node.test.value({**scope, **bound}):
            turns.append(bound)
    for number, bound in enumerate(turns):
        bound["loop"] = {
            "index": number + 1,
            "index0": number,
            "first": number == 0,
            "last": number + 1 == len(turns),
            "length": len(turns),
        }
    return turns


def assign(scope: dict[str, Any], targets: syntax.Targets, value: Any, node: syntax.Node) -> None:
    """Give a value to a name, or its items to names."""
    if isinstance(targets, str):
        scope[targets] = value
        return
    try:
        items = list(value)
    except TypeError as error:
        raise faults.at(node.place, f"{type(value).__name__} cannot be taken apart") from error
    if len(items) != len(targets):
        raise faults.at(node.place, f"there are {len(items)} values for {len(targets)} names")
    for target, item in zip(targets, items, strict=True):
        assign(scope, target, item, node)


def restore(scope: dict[str, Any], before: Mapping[str, Any], names: Sequence[str]) -> None:
    """Give loop variables the values they had before the loop."""
    for name in names:
        if name in before:
            scope[name] = before[name]
        else:
            scope.pop(name, None)


Turns = Callable[[syntax.For, Mapping[str, Any]], list[dict[str, Any]]]


def render(nodes: Sequence[syntax.Node], scope: dict[str, Any], each: Turns) -> str:
    """Text without slots, as it is now; `each` gives the turns of a loop."""
    parts: list[str] = []
    for node in nodes:
        match node:
            case syntax.Text(text=text):
                parts.append(text)
            case syntax.Show(expression=expression):
                parts.append(expressions.show(expression.value(scope)))
            case syntax.If():
                parts.append(render(branch(node, scope), scope, each))
            case syntax.Set(targets=targets, expression=expression):
                assign(scope, targets, expression.value(scope), node)
            case syntax.For():
                turns = each(node, scope)
                parts.extend(render(node.body, {**scope, **bound}, each) for bound in turns)
                if not turns:
                    parts.append(render(node.otherwise, scope, each))
            case _:
                raise faults.at(node.place, "only text, expressions, conditions and loops can stand here")
    return "".join(parts)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
