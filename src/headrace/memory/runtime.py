"""A chat with a memory: `Runtime`, which makes every turn a fact and tells the next turn what it should know.

    text ─► views (what is new in the ledger) ─► context ─► a run of kind `chat`: the user's fact, the stream, one
    ending ─► follow-up, in the background and in order: marker lines become facts, the views take them

The views are kept in this process and fed what is new, so a turn costs the same however long the ledger is; the
first use of a conversation reads it once. Facts of other processes are seen at the next turn. The follow-up only
appends facts whose ids follow from the response, so doing it again, here or elsewhere, changes nothing; what a
crash left undone is done at the next start. Everything runs on one event loop: that of the first use, or, for
blocking code, the library's background loop. The file is past 600 lines because a turn, its views and its follow-up
share one state and one order, and are read together. Next: `replay`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal, TypeVar

import structlog

from headrace import errors, events, ids
from headrace.ledger import Fact, Ledger, open_ledger
from headrace.ledger import base as ledger_base
from headrace.memory import context, embedding, markers, mirror, shelf, turns
from headrace.memory import views as views_module
from headrace.runs import api, sync, tools
from headrace.runs.attempts import Models
from headrace.runs.context import Context
from headrace.runs.engine import ActiveRun, Engine
from headrace.runs.spec import Program, RunSpec

T = TypeVar("T")
Consistency = Literal["eventual", "strict"]

REFLECT = (
    "Reflect on this conversation and on your part in it: what went well, what did not, and what you want to do "
    "differently. A few sentences, in the first person."
)
_NOTES = (mirror.IDENTITY, mirror.DIRECTIVE, mirror.EVENT)
_EMBEDDED = 8  # nodes that a follow-up embeds ahead: those of a turn and its markers
_LATE_S = 0.25  # seconds a turn waits for the reading of a conversation before its run begins without
_TELL_S = 1.0  # seconds between two words on how far that is, to readers
_LOG_S = 5.0  # and to the log
_RETENTION = 300.0  # seconds an ended turn's events can still be read

log = structlog.get_logger("headrace.memory")


class Runtime:
    """A conversation with a model, recorded.

        runtime = headrace.Runtime("openai:gpt-4o-mini", "sqlite:///data/chat.sqlite")
        for token in runtime.handle_user_stream("What is my name?"):
            print(token, end="", flush=True)

    Nothing is opened before the first use. Methods that are `async` have to be awaited on one event loop; the
    blocking ones (`handle_user`, `handle_user_stream`, `reflect_stream`, `wait`, `close`) work in any other thread.

    Args:
        model: a model's name, or any object with `generate` or `generate_stream`.
        ledger: a URL (`sqlite:///path`, `memory`), or an open ledger; default: the engine's, else memory.
        conversation: its name.
        engine: instead of one of the runtime's own; it must have a ledger.
        system: instructions that come first in every context.
        teach: whether the model is told of the marker lines.
        hide_markers: whether marker lines are kept from the reader; the ledger has them all the same.
        consistency: `strict` has each turn wait for the follow-up of those before; `eventual` does not.
        continuations: how often a reply that ends with `length` is gone on with, at most.
        budgets: characters for the parts of the context.
        embed: makes a vector of a text, for the graph's slices by topic; default: `embedding.hashed`.
        reflect_every: turns after which the follow-up has the model reflect; 0 is never.
        options: fields of `runs.spec.RunSpec`: `temperature`, `max_tokens`, `tools` (functions, too), `fallbacks`, …

    Attributes:
        chat: the model, as it was given.
        cache: contexts by what they depend on; `hits` and `misses` count.
        progress: while the conversation is read from its first fact: facts so far, and of how many.

    Raises:
        errors.UsageError: an option that there is not; an engine without a ledger, or with another.
    """

    def __init__(
        self,
        model: str | object,
        ledger: Ledger | str | None = None,
        *,
        conversation: str = "main",
        engine: Engine | None = None,
        system: str = "",
        teach: bool = False,
        hide_markers: bool = False,
        consistency: Consistency = "eventual",
        continuations: int = 2,
        budgets: context.Budgets | None = None,
        embed: embedding.Embed = embedding.hashed,
        reflect_every: int = 0,
        **options: Any,
    ) -> None:
        self.chat = model
        self.conversation = conversation
        self.system = system
        self.cache = context.Cache()
        self._ledger = ledger
        self._engine = engine
        self._own = engine is None
        self._teach = teach
        self._hide = hide_markers
        self._strict = consistency == "strict"
        self._continuations = continuations
        self._budgets = budgets or context.Budgets()
        self._options = _checked(options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connecting = asyncio.Lock()
        self._recovered = False
        self._opening: asyncio.Task[None] | None = None
        self._opened = False
        self._vectors = embedding.Vectors(embed)
        self._reflect_every = reflect_every
        self._reflect_next = 0
        self._closing = False
        self._views = views_module.Views(self._vectors)
        self._shelf: shelf.Shelf | None = None
        self._reading: asyncio.Task[None] | None = None
        self.progress: tuple[int, int] | None = None
        self._waiting: deque[ActiveRun] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[None]] = set()
        if consistency not in ("eventual", "strict"):
            raise errors.UsageError(f"consistency is 'eventual' or 'strict', not {consistency!r}")
        if engine is not None and (engine.ledger is None or ledger not in (None, engine.ledger)):
            raise errors.UsageError("the engine must have a ledger, and the runtime uses that one")

    # turns

    async def begin(self, text: str) -> turns.Turn:
        """Start a turn; when this returns, the user's fact is in the ledger. Who begins a turn closes it.

        Raises:
            errors.HeadraceError: it could not be started; there is no turn.
        """
        engine = await self._ready()
        models, name = self._models(engine)
        built, program = await self.prepare(text, models=models)
        return await self._start(engine, built, models, name, program, record=True)

    async def prepare(
        self, text: str, *, system: str | None = None, models: Models | None = None
    ) -> tuple[context.Built, Program]:
        """What a turn sends and the program that is its run, for who starts runs another way.

        Give the run that is started so to `follow_up`.

        Args:
            system: instead of the runtime's own.
            models: what the run resolves model names with; default: the engine's.
        """
        built, program = await self.prepare_late(text, system=system, models=models, within=None)
        assert built is not None
        return built, program

    async def prepare_late(
        self,
        text: str,
        *,
        system: str | None = None,
        models: Models | None = None,
        within: float | None = _LATE_S,
    ) -> tuple[context.Built | None, Program]:
        """`prepare`, which does not wait where a long conversation has to be read from its first fact.

        Then there is no context yet: the run builds it, and tells its readers with `status` how far the reading is.

        Args:
            within: seconds that are waited before that; None waits to the end.
        """
        engine = await self._connected()
        began = time.monotonic()
        opening = self._open()
        if within is not None and not opening.done():
            await asyncio.wait([opening], timeout=within)
        made: context.Built | turns.Late
        if within is not None and not opening.done():

            async def late(run: Context) -> context.Built:
                await self._told(run)
                if self._strict:
                    await self._follow_up()
                return await self.context(text, system=system, run=run.run)

            built, made, took = None, late, 0.0
        else:
            await self._ready()
            if self._strict:
                await self.settle()
            built = made = await self.context(text, system=system)
            took = (time.monotonic() - began) * 1000
        program = turns.answer(
            made,
            took,
            models=models or engine.models,
            continuations=self._continuations,
            hide=self._hide,
        )
        return built, program

    async def stream(self, text: str) -> AsyncIterator[str]:
        """The reply's pieces as they come; leaving early (close it, or use `aclosing`) cancels the turn.

        A piece can be a `headrace.Retraction`: what came before it is taken back.

        Raises:
            errors.HeadraceError: the turn could not be started; or, after the last piece, it failed.
        """
        turn = await self.begin(text)
        try:
            async with aclosing(aiter(turn)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    yield piece
        finally:
            await turn.close()

    async def ask(self, text: str) -> str:
        """The same turn, waited for: the whole reply, as its reader sees it."""
        turn = await self.begin(text)
        try:
            return await turn.text()
        finally:
            await turn.close()

    async def _told(self, run: Context) -> None:
        """Wait until the conversation has been read; the run's readers hear of it."""
        opening = self._open()
        while not opening.done():
            words = "Reading the conversation"
            if self.progress is not None:
                words += f": {self.progress[0]:,} of {self.progress[1]:,} facts"
            run.emit(events.Status(message=words))
            await asyncio.wait([opening], timeout=_TELL_S)
        await self._ready()

    async def reflect(self, *, model: str | None = None) -> turns.Turn:
        """Start a reflection: the model looks back, and what it says becomes a fact when it is complete.

        Args:
            model: a model's name, instead of the runtime's own.
        """
        engine = await self._ready()
        built = await self.context(REFLECT)
        about = max((f.seq for f in self._views.recent if f.kind == ledger_base.RESPONSE), default=None)
        models, name = self._models(engine) if model is None else (engine.models, model)
        program = turns.reflection(built, self.ledger, self.conversation, about)
        return await self._start(engine, built, models, name, program, record=False, tools=())

    async def _start(
        self,
        engine: Engine,
        built: context.Built,
        models: Models,
        name: str,
        program: Any,
        *,
        record: bool,
        **more: Any,
    ) -> turns.Turn:
        options = {**self._options, "record": record, **more}
        options.setdefault("on_disconnect", "continue")  # the turn's reader cancels it, by `close`
        spec = RunSpec(
            model=name, messages=built.messages, kind="chat", conversation=self.conversation, **options
        )
        starting = asyncio.ensure_future(engine.start(spec, program, models=models))
        try:
            active = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The user's fact may be on its way to the disk, and then it needs an ending.
            task = asyncio.create_task(self._abandon(engine, starting))
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)
            raise
        self.follow_up(active)
        return turns.Turn(engine, active, built)

    async def _abandon(self, engine: Engine, starting: asyncio.Future[ActiveRun]) -> None:
        try:
            active = await starting
        except errors.HeadraceError:
            return  # there is no turn, and nobody to tell
        self.follow_up(active)
        await engine.cancel(active.run)

    # blocking twins

    def handle_user_stream(self, text: str) -> Iterator[str]:
        """The reply's pieces as they come; closing the iterator early cancels the turn. See `stream`."""
        return self._blocking(lambda: self.begin(text))

    def handle_user(self, text: str) -> str:
        """The same turn, waited for. See `ask`."""
        turn = self.wait(self.begin(text))
        try:
            return self.wait(turn.text())
        finally:
            self.wait(turn.close())  # also after Ctrl-C

    def reflect_stream(self) -> Iterator[str]:
        """The pieces of a reflection as they come. See `reflect`."""
        return self._blocking(self.reflect)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one of the `async` methods from blocking code: `runtime.wait(runtime.views())`.

        Raises:
            errors.UsageError: called in the event loop's own thread, which it would block for ever.
        """
        loop = self._loop or sync.background()
        if _running() is loop:
            coroutine.close()
            raise errors.UsageError("blocking calls do not work inside the event loop; await the async twin")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _blocking(self, begin: Callable[[], Coroutine[Any, Any, turns.Turn]]) -> Iterator[str]:
        turn = self.wait(begin())
        try:
            while (pieces := self.wait(turn.next())) is not None:
                yield from pieces
        finally:
            self.wait(turn.close())

    # what is known

    @property
    def ledger(self) -> Ledger:
        """The ledger, once it has been opened by the first use."""
        if self._engine is None or self._engine.ledger is None:
            raise errors.UsageError("the runtime has not been used yet; its ledger is not open")
        return self._engine.ledger

    async def views(self, *, as_of: int | None = None) -> views_module.Views:
        """Mirror, graph, metrics and traces: up to date, or as they were after fact `as_of`.

        Up to date they are the runtime's own: look, do not change. Those of an earlier fact are a rebuild.
        """
        await self._ready()
        if as_of is not None:
            return await views_module.rebuild(self.ledger, self.conversation, as_of=as_of)
        if isinstance(stands_on := self._views.graph.base, shelf.Shelved):
            try:
                stands_on.check()
            except errors.StoreError:
                await self._open_views()
        await views_module.follow(self._views, self.ledger, self.conversation)
        return self._views

    async def _open_views(self) -> None:
        """Open the views anew; who asks meanwhile waits for the same. Giving up waiting does not stop it."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name=f"reading {self.conversation}")
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        """Take the snapshot where it fits the ledger, begin at the first fact where not, and read what is new."""
        found = None
        try:
            self._shelf = shelf.of(self.ledger)
            if self._shelf is not None:
                found = self._shelf.load(self.conversation, self._vectors)
                if found is not None:
                    there = await self.ledger.facts(self.conversation, after=found.seq - 1, limit=1)
                    if [fact.hash for fact in there] != [found.hash]:
                        self._shelf.forget(self.conversation)
                        found = None
        except errors.StoreError as error:
            self._no_shelf(error)
            found = None
        views = found or views_module.Views(self._vectors)
        last = await self.ledger.tail(self.conversation, 1)
        total = last[0].seq if last else 0
        told = began = time.monotonic()

        async def page() -> None:
            nonlocal told
            self.progress = (views.seq, max(total, views.seq))
            await self._save(views, shelf.BULK, own=True)
            if time.monotonic() - told > _LOG_S:
                told = time.monotonic()
                log.info("reading a conversation", conversation=self.conversation, facts=views.seq, of=total)

        await views_module.read(views, self.ledger, self.conversation, page=page)
        if told != began:
            took = round(time.monotonic() - began, 1)
            log.info("read a conversation", conversation=self.conversation, facts=views.seq, seconds=took)
        if views.seq - views.graph.since > views_module.PAGE:  # what was read for long is not read again
            await self._save(views, shelf.EVERY, own=True)
        self._views, self.progress = views, None

    async def _save(self, views: views_module.Views, since: int, *, own: bool = False) -> None:
        """Move the snapshot on, when so many facts have come since; in a thread, for it may wait for the disk.

        Args:
            own: nobody else has these views yet, so all of it may be done there.
        """
        if self._shelf is None or views.seq - views.graph.since < since:
            return
        try:
            if own:
                await asyncio.to_thread(self._shelf.save, self.conversation, views)
            else:
                new = shelf.Saving(self.conversation, views)
                views.graph.stand_on(await asyncio.to_thread(self._shelf.write, new))
        except shelf.Stale:
            pass  # another process is further; the next look-up finds out
        except errors.StoreError as error:
            self._no_shelf(error)

    def _no_shelf(self, error: errors.HeadraceError) -> None:
        log.warning("a conversation is kept without a snapshot", error=error.message)
        self._shelf = None

    async def context(self, text: str, *, system: str | None = None, run: str | None = None) -> context.Built:
        """What a turn with this text would send now; the same facts give the same bytes.

        Args:
            run: the run that the turn is, where its user's fact has been written already.
        """
        views = await self.views()
        first = self.system if system is None else system

        def get() -> context.Built:
            own = views.graph.asked.get(run or "", "n0")

            def build() -> context.Built:
                return context.build(
                    views,
                    text,
                    budgets=self._budgets,
                    system=first,
                    teach=self._teach,
                    without=int(own.removeprefix("n")),
                )

            return self.cache.get((views.seq, first, text, own), build)

        try:
            return get()
        except errors.StoreError:  # the snapshot was moved on between the look and the look-up
            await self._open_views()
            views = self._views
            return get()

    async def traces(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last turns' traces, with durations; see `traces`."""
        views = await self.views()
        return await views_module.timed(self.ledger, views.traces.last(limit))

    async def facts(self, *, after: int = 0, limit: int = 1000) -> list[Fact]:
        """Facts of the conversation, in order."""
        await self._ready()
        return await self.ledger.facts(self.conversation, after=after, limit=limit)

    async def remember(self, kind: str, text: str) -> Fact:
        """Record an `identity` (a name), a `directive` (a standing instruction) or an `event`."""
        if kind not in _NOTES:
            raise errors.UsageError(f"what can be remembered is {', '.join(_NOTES)}, not {kind!r}")
        await self._ready()
        return await self.ledger.append(self.conversation, kind, text, {}, id=f"note:{ids.ulid()}")

    # the follow-up

    async def settle(self) -> None:
        """Wait until every turn begun so far has ended and its markers are facts."""
        while self._worker is not None and not self._worker.done():
            await asyncio.shield(self._worker)

    @property
    def busy(self) -> bool:
        """Whether a turn, its follow-up or the first reading is under way."""
        tasks = (self._worker, self._opening)
        return bool(self._waiting or self._abandoned or any(t is not None and not t.done() for t in tasks))

    def follow_up(self, active: ActiveRun) -> None:
        """Have the follow-up done when this run of the conversation has ended."""
        self._waiting.append(active)
        self._later()

    def _later(self) -> None:
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name=f"follow-up of {self.conversation}")

    async def _work(self) -> None:
        while True:
            if self._waiting:
                await self._waiting[0].ended.wait()
                self._waiting.popleft()
            try:
                await self._follow_up()
                if not self._waiting and self._reflection_is_due():
                    turn = await self.reflect()
                    turn.release()
            except errors.HeadraceError as error:
                # The markers are in the response; the next turn's follow-up, or the next start, takes them.
                log.error("a follow-up failed", conversation=self.conversation, error=error.message)
            if not self._waiting:
                return

    async def _follow_up(self) -> None:
        """Make facts of the markers that are none yet, in order."""
        views = await self.views()
        while views.unfollowed:
            turn = min(views.unfollowed)
            index = min(views.unfollowed[turn])
            marker = views.unfollowed[turn][index]
            meta: dict[str, Any] = {**marker.meta, "turn": turn}
            if marker.kind == markers.CLOSED and (closes := views.mirror.find(marker.content)):
                meta["commitment"] = closes
            id = views_module.marker_id(turn, index)
            fact = await self.ledger.append(self.conversation, marker.kind, marker.content, meta, id=id)
            if fact.seq <= views.seq:  # taken for something else before; it can not be done
                views.unfollowed.pop(turn, None)
            views = await self.views()
        for node in views.graph.newest(min(_EMBEDDED, views.seq - views.graph.since)):
            self._vectors.of(node.label)
        await self._save(views, shelf.EVERY)

    def _reflection_is_due(self) -> bool:
        """Whether so many responses have come since the last reflection; one that fails waits for as many again."""
        every, counts = self._reflect_every, self._views.metrics
        if not every or self._closing or counts.unreflected < every or counts.responses < self._reflect_next:
            return False
        self._reflect_next = counts.responses + every
        return True

    # opening and closing

    async def _ready(self) -> Engine:
        """The engine, when the ledger is open and the conversation has been read."""
        engine = await self._connected()
        if not self._opened:
            await asyncio.shield(self._open())
        return engine

    def _open(self) -> asyncio.Future[None]:
        """The reading of the conversation, begun where it has not been; done, where it is."""
        if self._opening is None or (self._opening.done() and not self._opened):
            self._opening = asyncio.create_task(self._opened_views(), name=f"opening {self.conversation}")
            self._opening.add_done_callback(_seen)
        return self._opening

    async def _opened_views(self) -> None:
        await self._open_views()
        self._opened = True
        if self._views.unfollowed:
            self._later()

    async def _connected(self) -> Engine:
        """The engine, when the ledger is open."""
        running = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not running:
            raise errors.UsageError(
                "a runtime belongs to the event loop that first used it; make one for this"
            )
        self._loop = running
        async with self._connecting:
            if self._engine is None:
                self._engine = _engine(self._ledger)
            if self._own and not self._recovered:
                await self.ledger.recover()
            self._recovered = True
        return self._engine

    def _models(self, engine: Engine) -> tuple[Models, str]:
        if isinstance(self.chat, str):
            return engine.models, self.chat
        name = f"object:{type(self.chat).__name__}"
        return api.WithObject(self.chat, name, engine.models), name

    async def aclose(self) -> None:
        """End what runs, finish the follow-up, and close what the runtime opened itself."""
        if self._loop is None:
            return
        self._closing = True
        for reading in (self._opening, self._reading):
            if reading is not None and not reading.done():
                reading.cancel()
                await asyncio.wait([reading])
        if self._abandoned:
            await asyncio.wait(self._abandoned)
        for active in list(self._waiting):
            if self._engine is not None:
                await self._engine.cancel(active.run)
        await self.settle()
        if self._own and self._engine is not None:
            if self._ledger is not None and not isinstance(self._ledger, str):
                self._engine.ledger = None  # it is its owner's to close
            elif self._engine.ledger is not None:
                shelf.close(self._engine.ledger)
            await self._engine.close()

    def close(self) -> None:
        """`aclose` from blocking code."""
        self.wait(self.aclose())

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    own = {"model", "messages", "kind", "conversation", "record"}
    known = [name for name in RunSpec.__struct_fields__ if name not in own]
    for name in options:
        if name not in known:
            raise errors.UsageError(
                f"there is no option {name!r}; there are {', '.join(known)}", code="bad-request"
            )
    found = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    return found | {"tools": tools.as_tools(found.get("tools", ()))}


def _engine(ledger: Ledger | str | None) -> Engine:
    from headrace import settings
    from headrace.providers import prices, registry
    from headrace.runlog.memory import MemoryRunLog

    chosen = settings.load()
    store = open_ledger(ledger or "memory") if ledger is None or isinstance(ledger, str) else ledger
    return Engine(
        registry.Registry(chosen),
        MemoryRunLog(retention=_RETENTION),
        store,
        price=prices.priced,
        timeouts=api.timeouts_of(chosen),
    )


def _seen(task: asyncio.Task[None]) -> None:
    """A reading that failed fails for whoever waits; where nobody does, the next asks again."""
    if not task.cancelled():
        task.exception()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
