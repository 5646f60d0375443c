"""Answers kept: looked up before a model is asked, stored after success only, replayed as they came.

The key covers everything that can change an answer: owner, messages, model, endpoint, parameters, schema.
Identical questions at the same time share one call: the first asks, the others wait and get its answer; where it
fails or is cancelled, the next of them asks. Stores: memory, one SQLite file, and Redis (`redis_cache`). Next:
`asking`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from headrace import errors
from headrace.messages import Usage

MAX_BYTES = 64 * 1024 * 1024


class Entry(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        deltas: its pieces as they came: milliseconds since the first, and the texts that came together then.
    """

    deltas: tuple[tuple[float, list[str]], ...]
    finish_reason: str | None = None
    provider: str = ""
    model: str = ""

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join([text for _, texts in self.deltas for text in texts])


class Store(Protocol):
    """Where entries are: bytes by key. Calls are short and may block; they are made in a thread."""

    def get(self, key: str) -> bytes | None:
        """The entry of that key."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keep an entry; the oldest go when there are too many."""
        ...

    def clear(self) -> int:
        """Forget all; returns how many there were."""
        ...


class Earlier(Protocol):
    """What a run was answered before it was interrupted, and where its answers are noted; see `batch.journal`."""

    def take(self, key: str) -> Entry | None:
        """An answer of the earlier run to that question, once."""
        ...

    def put(self, key: str, entry: Entry, usage: Usage | None) -> None:
        """Note an answer, and what it cost; None where nothing was asked."""
        ...

    def spent(self, usage: Usage) -> None:
        """Note what a call cost that gave no answer that fits."""
        ...


class MemoryStore:
    """Entries in this process, least recently used out first.

    Args:
        max_bytes: of all entries together.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max = max_bytes
        self._size = 0
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: str, value: bytes) -> None:
        """See `Store.put`."""
        with self._lock:
            self._size += len(value) - len(self._entries.pop(key, b""))
            self._entries[key] = value
            while self._size > self._max:
                self._size -= len(self._entries.popitem(last=False)[1])

    def clear(self) -> int:
        """See `Store.clear`."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            self._size = 0
            return count


class SqliteStore:
    """Entries in one file, which processes may share; least recently used out first.

    Args:
        path: the file; made when it is not there.
        max_bytes: of all entries together.

    Raises:
        errors.StoreError: it cannot be opened, read or written.
    """

    def __init__(self, path: str | Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = str(path)
        self._max = max_bytes
        self._lock = threading.Lock()
        with self._lock:
            self._connection = self._do(self._open)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute(
            "create table if not exists answers (key text primary key, used real not null, entry blob not null)"
        )
        return connection

    def _do(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except sqlite3.Error as error:
            raise errors.StoreError(f"the cache {self._path}: {error}", code="store-unavailable") from error

    def get(self, key: str) -> bytes | None:
        """See `Store.get`."""

        def work() -> bytes | None:
            row = self._connection.execute("select entry from answers where key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._connection.execute("update answers set used = ? where key = ?", (time.time(), key))
            return bytes(row[0])

        with self._lock:
            found: bytes | None = self._do(work)
            return found

    def put(self, key: str, value: bytes) -> None:
        """See `Store.put`."""

        def work() -> None:
            self._connection.execute(
                "insert or replace into answers values (?, ?, ?)", (key, time.time(), value)
            )
            total = self._connection.execute(
                "select coalesce(sum(length(entry)), 0) from answers"
            ).fetchone()[0]
            while total > self._max:
                row = self._connection.execute(
                    "delete from answers where key = (select key from answers order by used limit 1) "
                    "returning length(entry)"
                ).fetchone()
                if row is None:
                    break
                total -= row[0]

        with self._lock:
            self._do(work)

    def clear(self) -> int:
        """See `Store.clear`."""
        with self._lock:
            return int(self._do(lambda: self._connection.execute("delete from answers").rowcount))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def opened(place: str | Path, max_bytes: int = MAX_BYTES) -> Store:
    """The store of a place: a `redis://` URL, or the path of a SQLite file.

    Raises:
        errors.StoreError: it cannot be opened.
        errors.UsageError: `missing-extra`.
    """
    if isinstance(place, str) and place.startswith(("redis://", "rediss://", "unix://")):
        from headrace.templates.redis_cache import RedisStore

        return RedisStore(place, max_bytes)
    return SqliteStore(place, max_bytes)


class Cache:
    """A store, and the questions that are being asked now."""

    def __init__(self, store: Store | None = None) -> None:
        self.store: Store = store or MemoryStore()
        self._flights: dict[tuple[int, str], asyncio.Future[Entry | None]] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[Entry]]) -> tuple[Entry, bool]:
        """The entry of a key, and whether it was there (or came from an identical question).

        Args:
            ask: asks the model; what it returns is stored, what it raises is not.
        """
        flight_key = (id(asyncio.get_running_loop()), key)
        while (flight := self._flights.get(flight_key)) is not None:
            entry = await asyncio.shield(flight)
            if entry is not None:
                return entry, True
        flight = self._flights[flight_key] = asyncio.get_running_loop().create_future()
        entry = None
        try:
            found = await asyncio.to_thread(self.store.get, key)
            if found is not None:
                with contextlib.suppress(msgspec.MsgspecError):  # of another version: it is written anew
                    entry = msgspec.msgpack.decode(found, type=Entry)
                    return entry, True
            fresh = await ask()
            await asyncio.to_thread(self.store.put, key, msgspec.msgpack.encode(fresh))
            entry = fresh
            return fresh, False
        finally:
            del self._flights[flight_key]
            flight.set_result(entry)


_marks: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_OURS = ("headrace.providers.demo", "headrace.providers.local")


def endpoint(provider: Any) -> str:
    """Where a provider asks: its URL; for one without, the object itself, which no other process shares.

    An `id()` would not do: it is given to another object once this one is gone.
    """
    url = getattr(provider, "base_url", None)
    if isinstance(url, str):
        return url
    if type(provider).__module__ in _OURS:  # the name of the model says it all
        return type(provider).__module__
    try:
        return _marks.setdefault(provider, uuid.uuid4().hex)
    except TypeError:  # neither hashed nor referred to weakly: never the same twice
        return uuid.uuid4().hex


def key(**what: Any) -> str:
    """The key of a question: a hash of everything that can change its answer."""
    data = msgspec.json.encode(what, order="deterministic", enc_hook=str)
    return hashlib.sha256(data).hexdigest()
