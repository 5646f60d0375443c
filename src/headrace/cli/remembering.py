"""`headrace chat --conversation NAME`: the chat with a ledger and a memory, and the commands that look into it.

The turns are those of `memory.runtime`; what was said before is read from the ledger, so the chat goes on where it
ended. Marker lines are not shown: /commitments, /graph and the others show what became of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headrace import errors, events
from headrace.cli import chat, clean, local, out, people
from headrace.ledger import base as ledger_base
from headrace.ledger import open_ledger
from headrace.memory import context, runtime, turns

if TYPE_CHECKING:
    from headrace.ledger import Ledger
    from headrace.runs.tools import Tool

_SHOWN = 12  # nodes of the graph, traces, closed commitments that a command shows


async def opened(
    runner: asyncio.Runner,
    here: local.Local,
    model: str,
    system: str | None,
    url: str,
    conversation: str,
    tools: tuple[Tool, ...] = (),
) -> Talk:
    """The chat on the ledger at `url`, made where it is not there.

    Raises:
        errors.StoreError: it cannot be opened.
        errors.UsageError: the URL is none of a ledger.
    """
    ledger = open_ledger(url)
    here.engine.ledger = ledger  # closed with the engine
    await ledger.recover()
    return Talk(runner, here, model, system, ledger, conversation, tools)


class Talk(chat.Talk):
    """A conversation that is recorded."""

    def __init__(
        self,
        runner: asyncio.Runner,
        here: local.Local,
        model: str,
        system: str | None,
        ledger: Ledger,
        conversation: str,
        tools: tuple[Tool, ...] = (),
    ) -> None:
        super().__init__(runner, here, model, system)
        self._ledger = ledger
        self._runtime = runtime.Runtime(
            model,
            engine=here.engine,
            conversation=conversation,
            system=system or "",
            teach=True,
            hide_markers=True,
            tools=tools,
        )
        self._reflecting = False
        del self._commands["/clear"]
        quit = self._commands.pop("/quit")
        self._commands |= {
            "/metrics": ("identity stability and growth", self._metrics),
            "/graph": ("[TOPIC] the memory nearest to a topic, or the newest", self._graph),
            "/commitments": ("what is promised, and what was kept", self._commitments),
            "/reflect": ("has the model look back; what it says is remembered", self._reflect),
            "/trace": ("[N] what the last turns did", self._trace),
            "/context": ("[TEXT] what a message would be sent with", self._context),
            "/export": ("FILE writes every fact of the conversation, a line of JSON each", self._export),
            "/verify": ("recomputes every hash of the ledger", self._verify),
            "/quit": quit,
        }

    async def close(self) -> None:
        """Let the last turn's markers become facts."""
        await self._runtime.aclose()

    # answers

    async def _follow(self, heard: Any) -> events.RunEnd:
        self._runtime.chat = self._model
        await self._known()
        if self._reflecting:
            turn = await self._runtime.reflect()
        else:
            turn = await self._runtime.begin(self.messages[-1]["content"])
        if self.show_context:
            _show(turn.built)
        return await _to_its_end(turn, heard, people.People(yes=self.yes))

    async def _known(self) -> None:
        """Have the conversation read; says how far that is, where it takes long."""
        reading = asyncio.ensure_future(self._runtime.views())
        while not (await asyncio.wait([reading], timeout=1))[0]:
            if self._runtime.progress is not None:
                done, total = self._runtime.progress
                out.note(f"reading the conversation: {done:,} of {total:,} facts")
        await reading

    def _retry(self, rest: str) -> bool:
        asked = [f for f in self._views().recent if f.kind == ledger_base.USER]
        if not asked:
            raise errors.UsageError("nothing has been asked yet")
        self.messages = [{"role": "user", "content": asked[-1].content}]
        self._answer()
        return True

    def _reflect(self, rest: str) -> bool:
        self._reflecting = True
        try:
            self._answer()
        finally:
            self._reflecting = False
        return True

    def _save(self, rest: str) -> bool:
        self.messages = self._runner.run(self._said())
        return super()._save(rest)

    async def _said(self) -> list[dict[str, str]]:
        roles = {ledger_base.USER: "user", ledger_base.RESPONSE: "assistant"}
        return [
            {"role": roles[fact.kind], "content": fact.content}
            async for fact in self._ledger.export(self._runtime.conversation)
            if fact.kind in roles
        ]

    # commands

    def _views(self) -> Any:
        async def settled() -> Any:
            await self._known()
            await self._runtime.settle()
            return await self._runtime.views()

        return self._runner.run(settled())

    def _metrics(self, rest: str) -> bool:
        found = self._views()
        out.line(f"IAS {found.metrics.ias:.3f}  identity stability")
        out.line(f"GAS {found.metrics.gas:.3f}  growth")
        for name, value in found.mirror.traits.items():
            out.line(f"{name:18}{value:.2f}")
        for kind, count in sorted(found.mirror.counts.items()):
            out.line(f"{clean.line(kind):18}{count}")
        return True

    def _graph(self, rest: str) -> bool:
        graph = self._views().graph
        nodes = graph.slice(rest, _SHOWN) if rest else graph.newest(_SHOWN)
        for node in nodes:
            out.line(f"{node.id:6} {node.kind:11} {clean.line(node.label)[:60]}")
        shown = {node.id for node in nodes}
        for edge in [edge for node in nodes for edge in graph.between(node.seq - 1, node.seq)]:
            if edge.source in shown and edge.target in shown:
                out.line(f"{edge.source} {edge.kind} {edge.target}", "dim")
        if not nodes:
            out.note("nothing is remembered of that")
        return True

    def _commitments(self, rest: str) -> bool:
        state = self._views().mirror
        for made in state.open.values():
            out.line(f"{made.id:6} open    {clean.line(made.text)}")
        for made in state.closed[-_SHOWN:]:
            out.line(f"{made.id:6} closed  {clean.line(made.text)}", "dim")
        if not state.open and not state.closed:
            out.note("nothing has been promised")
        return True

    def _trace(self, rest: str) -> bool:
        limit = int(rest) if rest.isascii() and rest.isdigit() and 0 < int(rest) <= 100 else 1
        for trace in self._runner.run(self._runtime.traces(limit)):
            took = "" if trace["elapsed_ms"] is None else f" in {trace['elapsed_ms']:.0f} ms"
            out.line(f"{trace['run']}: {trace['outcome'] or 'running'}{took}")
            for number, step in enumerate(trace["steps"], 1):
                more = {key: value for key, value in step.items() if key != "step"}
                out.line(f"  {number} {step['step']} {clean.line(msgspec.json.encode(more).decode())}")
            if trace["durations_ms"]:
                out.line(f"  ms: {', '.join(f'{ms:g}' for ms in trace['durations_ms'])}", "dim")
        return True

    def _context(self, rest: str) -> bool:
        self._views()
        out.line(self._runner.run(self._runtime.context(rest)).text)
        return True

    def _export(self, rest: str) -> bool:
        if not rest:
            raise errors.UsageError("name the file: /export FILE")
        count = self._runner.run(self._exported(Path(rest).expanduser()))
        out.note(f"{count} facts are in {clean.line(rest)}")
        return True

    async def _exported(self, path: Path) -> int:
        count = 0
        with path.open("wb") as file:
            async for fact in self._ledger.export(self._runtime.conversation):
                file.write(msgspec.json.encode(fact) + b"\n")
                count += 1
        return count

    def _verify(self, rest: str) -> bool:
        report = self._runner.run(self._ledger.verify())
        for problem in report.problems:
            out.line(f"{clean.line(problem.conversation)} {problem.seq}: {clean.line(problem.what)}")
        if not report.ok:
            raise errors.StoreError("the ledger does not verify", retryable=False)
        out.line(f"good: {report.facts} facts in {report.conversations} conversations")
        return True


async def _to_its_end(turn: turns.Turn, show: local.Show, asked: people.People) -> events.RunEnd:
    try:
        return await local.shown(turn.run, show, asked)
    finally:
        await turn.close()


def _show(built: context.Built) -> None:
    out.note(built.text)
    out.note("")
