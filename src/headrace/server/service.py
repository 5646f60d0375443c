"""What the routes share: start a run once, find a run of one's own, and the turns of a conversation.

No HTTP here: owners and bodies in, runs and errors out. Every route that starts or finds a run, in whatever
format, goes through this. Next: `streams`, the hot path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from headrace import errors, messages
from headrace.ledger import base as ledger_base
from headrace.providers.registry import Registry
from headrace.runs import api, context
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import Program, RunInfo, RunSpec
from headrace.runs.tools import Tool, table
from headrace.server import access, bodies, remembering
from headrace.server.workspace import Workspace
from headrace.settings import Settings


class Started(NamedTuple):
    """A run that a request stands for.

    Attributes:
        active: the run, None where only the ledger still knows it.
        repeated: whether an earlier request with the same idempotency key started it.
    """

    info: RunInfo
    active: ActiveRun | None
    repeated: bool


class Service:
    """One server's engine, and what its routes need beside it.

    Args:
        engine: runs the runs.
        settings: limits, keys and names.
        registry: knows the models; default: none but those the engine resolves.
        tools: what runs may name, and the engine then runs; see `runs.tools.table`.
        workspace: the folder of the IDE page; None is none.

    Attributes:
        gate: who may ask.
        memories: the conversations whose memory is in use.
        readers: event streams that are open now.
        unready: why no new work should be sent here, in words; None when all is well.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        registry: Registry,
        tools: Mapping[str, Any] | Iterable[Any] = (),
        workspace: Path | None = None,
    ) -> None:
        self.tools = table(tools)
        self.workspace = None if workspace is None else Workspace(workspace)
        self.engine = engine
        self.settings = settings
        self.registry = registry
        self.gate = access.Gate(
            [key.get_secret_value() for key in settings.api_keys],
            hosts=settings.allowed_hosts,
            origins=settings.cors_origins,
        )
        self.memories = remembering.Memories(engine, settings.reflect_every)
        self.readers = 0
        self.unready: str | None = None
        self._timeouts = api.timeouts_of(settings)

    async def start_body(
        self,
        body: bodies.RunBody,
        owner: str,
        key: str | None,
        *,
        history: tuple[messages.Message, ...] | None = None,
        check_output: bool = True,
    ) -> Started:
        """Start the run that a body asks for; see `start`.

        Args:
            history: what comes before the body's messages; None: the turns of its conversation where it has
                `input`, nothing where it has `messages`.
            check_output: False leaves the check of a structured answer to the client.
        """
        if body.conversation is not None:
            await self.check_conversation(body.conversation, owner)
        if body.procedure is not msgspec.UNSET:
            from headrace.server import procedures  # which imports this

            fingerprint = _fingerprint(body) if key else None
            return await self.start(*await procedures.prepared(self, body, owner, key, fingerprint))
        if body.memory and body.conversation is not None:
            return await self._start_turn(body, body.conversation, owner, key)
        if body.conversation is not None and history is None and body.input is not None:
            history = await self.history(body.conversation)
        spec = self._spec(body, owner, key, history or (), check_output=check_output)
        if body.template is not None:
            from headrace.server import templates  # which imports this

            return await self.start(spec, await templates.program(self, body))
        return await self.start(spec)

    def _spec(
        self,
        body: bodies.RunBody,
        owner: str,
        key: str | None,
        history: tuple[messages.Message, ...],
        *,
        check_output: bool = True,
    ) -> RunSpec:
        return bodies.spec_of(
            body,
            default_model=self.registry.default_model(),
            history=history,
            max_prompt_chars=self.settings.max_prompt_chars,
            timeouts=self._timeouts,
            tools=self.tools,
            owner=owner,
            idempotency_key=key,
            fingerprint=_fingerprint(body) if key else None,
            check_output=check_output,
        )

    async def _start_turn(
        self, body: bodies.RunBody, conversation: str, owner: str, key: str | None
    ) -> Started:
        """Start a turn of a conversation with a memory."""
        talk = self.memories.of(conversation, owner)
        spec = self._spec(body, owner, key, ())
        if any(not isinstance(tool, Tool) for tool in spec.tools):
            raise bodies.bad("tools", "goes with 'memory' where the server runs them: name them, one by one")
        built, program = await talk.prepare_late(body.input or "", system=body.system or "")
        talk.chat = spec.model  # for a reflection that the follow-up makes
        if built is not None:
            bodies.check_prompt(built.messages, self.settings.max_prompt_chars)
            spec = msgspec.structs.replace(spec, messages=built.messages)
        started = await self.start(spec, program)
        if started.active is not None and not started.repeated:
            talk.follow_up(started.active)
        return started

    async def reflect(self, conversation: str, owner: str, model: str | None) -> Started:
        """Start a reflection: what the model says of the conversation becomes a fact when it is complete.

        Raises:
            errors.ReadError: `run-not-found`.
        """
        await self.check_conversation(conversation, owner, new=False)
        talk = self.memories.of(conversation, owner)
        turn = await talk.reflect(model=model or self.registry.default_model())
        turn.release()
        return Started(turn.active.info(), turn.active, False)

    async def start(self, spec: RunSpec, program: Program = context.answer) -> Started:
        """Start a run, or find the one that its idempotency key stands for.

        Raises:
            errors.UsageError: `bad-request` for a key that came with another request before, `too-many`.
            errors.HeadraceError: see `Engine.start`.
        """
        key = spec.idempotency_key
        if key is not None:
            known = await self.engine.by_key(spec.owner, key)
            if known is not None:
                return await self._again(known, spec)
        try:
            active = await self.engine.start(spec, program)
        except errors.UsageError as error:
            # Another process took the key between the two looks.
            known = await self.engine.by_key(spec.owner, key) if key and error.code == "bad-request" else None
            if known is None:
                raise
            return await self._again(known, spec)
        if active.spec is not spec:
            return await self._again(active.info(), spec)
        return Started(active.info(), active, False)

    async def _again(self, known: RunInfo, spec: RunSpec) -> Started:
        active = self.engine.active(known.run)
        if active is not None:
            await active.begun.wait()
            if active.failure is not None:
                raise active.failure
        first = active.spec.fingerprint if active is not None else await self._fingerprint_of(known)
        if first is not None and spec.fingerprint is not None and first != spec.fingerprint:
            raise errors.UsageError(
                f"the idempotency key {spec.idempotency_key!r} came with another request before; use a new one",
                code="bad-request",
                details={"run": known.run},
            )
        return Started(known if active is None else active.info(), active, True)

    async def _fingerprint_of(self, known: RunInfo) -> str | None:
        if self.engine.ledger is None or known.conversation is None:
            return None
        wanted, after = ledger_base.user_id(known.run), 0
        while facts := await self.engine.ledger.facts(
            known.conversation, after=after, kinds={ledger_base.USER}
        ):
            for fact in facts:
                if fact.id == wanted:
                    found: str | None = fact.meta.get("fingerprint")
                    return found
            after = facts[-1].seq
        return None

    async def find(self, run: str, owner: str) -> RunInfo:
        """A run of an owner's.

        Raises:
            errors.ReadError: `run-not-found`, also for somebody else's.
        """
        return await self.engine.info(run, owner=self.only(owner))

    async def live(self, run: str, owner: str) -> ActiveRun:
        """An owner's run whose events can be read.

        Raises:
            errors.ReadError: `run-not-found`; `retention-passed`, with the run in `details`, where only the
                ledger knows it.
        """
        active = self.engine.active(run)
        if active is not None and active.spec.owner == owner:
            await active.begun.wait()
            if active.failure is not None:
                raise active.failure
            return active
        info = await self.find(run, owner)
        raise errors.ReadError(
            f"the events of {run} are no longer kept; its ending is in the details, and at GET /v1/runs/{run}",
            code="retention-passed",
            details={"run": msgspec.to_builtins(info)},
        )

    def only(self, owner: str) -> str | None:
        """Whose runs to look for: all of them where there are no keys."""
        return owner if self.gate.locked else None

    @property
    def files(self) -> Workspace:
        """The workspace.

        Raises:
            errors.AccessError: `forbidden`: there is none.
        """
        if self.workspace is None:
            raise errors.AccessError(
                "this server has no workspace; start it with --workspace DIR, or set HEADRACE_WORKSPACE",
                code="forbidden",
            )
        return self.workspace

    @property
    def ledger(self) -> ledger_base.Ledger:
        """The ledger.

        Raises:
            errors.StoreError: there is none.
        """
        if self.engine.ledger is None:
            raise errors.StoreError("this server keeps no ledger; start it with a store", retryable=False)
        return self.engine.ledger

    async def check_conversation(self, conversation: str, owner: str, *, new: bool = True) -> None:
        """Refuse somebody else's conversation.

        Args:
            new: whether one that does not exist yet is fine.

        Raises:
            errors.AccessError: `forbidden`, to go on with somebody else's.
            errors.ReadError: `run-not-found`, to read one that is not there or not one's own.
        """
        if self.engine.ledger is None:
            return
        found = await self.engine.ledger.conversation_owner(conversation)
        if found == owner or (found is not None and not self.gate.locked):
            return
        if not new:
            raise errors.ReadError(f"there is no conversation {conversation[:130]!r}")
        if found is not None:
            raise errors.AccessError(
                f"the conversation {conversation!r} is not yours; start one of your own", code="forbidden"
            )

    def running_in(self, conversation: str, owner: str) -> list[ActiveRun]:
        """The owner's runs of a conversation that have not ended, newest first."""
        return [
            active
            for active in reversed(self.engine.all_active())
            if active.conversation == conversation
            and active.spec.owner == owner
            and active.status != "ended"
            and active.failure is None
        ]

    async def history(self, conversation: str, *, until: str | None = None) -> tuple[messages.Message, ...]:
        """The turns of a conversation as messages: what users said and complete answers, nothing else.

        The oldest are left out where all together would pass the limit on prompts.

        Args:
            until: the run whose turn is the last of them.
        """
        ledger = self.engine.ledger
        if ledger is None:
            return ()
        facts: list[ledger_base.Fact] = []
        while more := await ledger.facts(
            conversation,
            after=facts[-1].seq if facts else 0,
            kinds={ledger_base.USER, ledger_base.RESPONSE},
        ):
            facts += more
        if until is not None:
            ids = [fact.id for fact in facts]
            end = ledger_base.end_id(until)
            facts = facts[: ids.index(end) + 1] if end in ids else []
        room = self.settings.max_prompt_chars // 2
        thread: list[messages.Message] = []
        for fact in reversed(facts):
            room -= len(fact.content)
            if not fact.content:  # only tools were called, or had answered
                continue
            if room < 0:
                break
            make = messages.user if fact.kind == ledger_base.USER else messages.assistant
            thread.append(make(fact.content))
        return tuple(reversed(thread))


def _fingerprint(body: bodies.RunBody) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()[:32]
