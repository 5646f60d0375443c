"""Running a template: an engine program that walks the plan, asks the slots, and keeps what they came to.

    plan ─► segments whose needs are met, at once ─► nodes in order ─► slot: messages ─► `asking` ─► value

A value is put into messages, never into source, so nothing that comes in or is answered can open a slot, a role
or a tag. Next: `values`, `api`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace import errors, events, messages
from headrace.messages import Message
from headrace.runs.context import Context
from headrace.runs.spec import Returned
from headrace.templates import actions, faults, options, rendering, syntax
from headrace.templates import plan as plans
from headrace.templates.asking import Asked, Asking, How, ms
from headrace.templates.expressions import plain, show
from headrace.templates.fields import FieldStream
from headrace.templates.plan import Plan, SegmentPlan
from headrace.templates.types import Shape

MAX_TURNS = 20_000
"""Of all loops of a run: a loop over too much ends as an error, not as a bill or a busy server."""


class _Stop(Exception):
    """The run ends here, with what it has."""


class Execution:
    """One run of a template; call it with the run's context.

    Attributes:
        asked: every answered slot, in the order of their ends.
        values: slot to Python value; of a slot in a loop, the list of its values.
        early: whether the run ended before the template did.
        growing: slots that come field by field, by span.
    """

    def __init__(self, plan: Plan, inputs: Mapping[str, Any], how: How) -> None:
        self.plan = plan
        self.how = how
        self.inputs = dict(inputs)
        self.asked: list[Asked] = []
        self.values: dict[str, Any] = {}
        self.early = False
        self.growing: dict[str, FieldStream] = {}
        self.began = time.monotonic()
        self.scopes: dict[int, dict[str, Any]] = {}
        self.stopped: int | None = None
        self.turns = 0
        self.looped = looped(plan)

    async def __call__(self, context: Context) -> Returned:
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
            context.value = self.result()
        return self.result()

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
        turns = rendering.each(node, scope)
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

    def result(self) -> Returned:
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
        result = {
            "values": plain(values),
            "early_termination": self.early,
            "usage": None if usage is None else msgspec.to_builtins(usage),
            "slots": slots,
        }
        return Returned(result, beside=True)


def looped(plan: Plan) -> set[str]:
    """Names of slots that stand in a loop: they have a list of values."""
    found: set[str] = set()
    for planned in plan.segments:
        for node in syntax.walk(planned.segment.nodes):
            if isinstance(node, syntax.For):
                found |= {n.key for n in syntax.walk(node.body) if isinstance(n, syntax.Slot)}
    return found


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
                rendering.assign(self.scope, targets, expression.value(self.scope), node)
            case syntax.If():
                await self.nodes(rendering.branch(node, self.scope), role)
            case syntax.For():
                items = self.run.each(node, self.scope)
                before = dict(self.scope)
                for bound in items:
                    self.scope.update(bound)
                    await self.nodes(node.body, role)
                rendering.restore(self.scope, before, [*syntax.names(node.targets), "loop"])
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
                rendering.render(s.body, dict(scope), self.run.each).strip()
                for s in self.systems
                if s.kind == kind
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
        if shape.fields:
            attributes["fields"] = run.how.stream and shape.options.call.get("stream", True)
        async with context.span("slot", slot.key, attributes=attributes) as span:
            asked = Asked(key=slot.key, segment=self.index, span=span.id, started_ms=ms(began - run.began))
            try:
                thread = [*self._leading(scope), *thread]
                asking = Asking(context, run.how, shape, thread, streams, span, asked, run.began)
                if asking.fields is not None:
                    run.growing[span.id] = asking.fields
                await asking.answer()
            except errors.HeadraceError as error:
                for name, what in (("slot", slot.key), ("segment", self.index), ("span", span.id)):
                    error.details.setdefault(name, what)
                raise
            asked.elapsed_ms = ms(time.monotonic() - began)
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
            case "fetch" | "evidence" | "markdownify":
                value = await self.run.how.built_in[action.name].run(
                    action.name, action.place, by_place, by_name
                )
            case "timestamp":
                value = actions.timestamp(*map(str, by_place[:1]))
            case _:
                value = "\n\n".join(f"{m.role}: {m.text}" for m in self.history)
        if action.key is not None:
            self.scope[action.key] = value
        if shown is not None:
            self.pending.append((shown, show(value)))


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
