"""Views kept on disk, so that a conversation of a million facts opens as fast as one of a hundred.

A snapshot is the state after one fact: what is small (mirror, metrics, traces, the last messages) in one piece, the
graph in tables, of which a turn looks up a few rows. It says for which fact it stands (seq and hash), by which folds
it was made, and has a checksum. It is taken only if the ledger has that very fact; then what came since is read from
the ledger. In every other case it is thrown away and made again from the first fact. So it can be deleted at any
time, and nothing in it is ever believed against the ledger.

Several processes may share a shelf. Whoever saves moves the snapshot on; a graph that stands on an earlier one is
told so (`Stale`) at its next look-up, and its views are opened anew. One SQLite file beside the ledger's, `-views`.
Next: `runtime`.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import apsw
import msgspec

from headrace import errors
from headrace.ledger import base, statements
from headrace.memory import embedding, graph, markers, metrics, mirror, traces, views

EVERY = 50
"""A snapshot is made when so many facts have come since the last."""

BULK = 20_000
"""The same while a long conversation is read from its first fact."""

_SQL = statements.load(resources.files("headrace.memory") / "shelf.sql")
_BUSY_MS = 2000


class Stale(errors.StoreError):
    """The shelf has another state of the conversation than the one asked for."""

    def __init__(self) -> None:
        super().__init__("the snapshot was moved on by another process; look again")


class _State(msgspec.Struct):
    """What is small, in one piece."""

    mirror: mirror.Mirror
    metrics: metrics.Metrics
    traces: dict[str, tuple[traces.Trace, datetime]]
    recent: list[base.Fact]
    unfollowed: dict[int, dict[int, markers.Marker]]
    asked: dict[str, str]


_decoder = msgspec.msgpack.Decoder(_State)


class Saving:
    """What a save writes: taken at once, so that the views may go on meanwhile."""

    def __init__(self, conversation: str, state: views.Views) -> None:
        held = state.graph
        kept = _State(
            state.mirror, state.metrics, state.traces.of, [*state.recent], state.unfollowed, held.asked
        )
        self.conversation = conversation
        self.since, self.seq, self.hash = held.since, state.seq, state.hash
        self.blob = msgspec.msgpack.encode(kept)
        self.nodes, self.edges = [*held.nodes.values()], [*held.edges]
        self.words = {word: [*seqs] for word, seqs in held.words.items()}
        self.links = {seq: [*seqs] for seq, seqs in held.links.items()}


class Shelf:
    """The snapshots of one ledger.

    Args:
        path: the file; made when it is not there, for its owner only.

    Raises:
        errors.StoreError: it cannot be opened. Every method raises the same when the file cannot be used.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._locks = (threading.Lock(), threading.Lock())  # of the connections that read and that write
        with _translated(path):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connections = (_connect(path), _connect(path))
            self._connections[True].execute(_SQL["make"])

    def load(self, conversation: str, vectors: embedding.Vectors | None = None) -> views.Views | None:
        """The views of the snapshot; None when there is none, or none that these folds have made."""
        with self.transaction() as execute:
            row = execute("state", conversation).fetchone()
        if row is None:
            return None
        number, fold, seq, hash, state, sum = row
        if fold != folds() or sum != _sum(seq, hash, state):
            self.forget(conversation)
            return None
        kept = _decoder.decode(state)
        found = views.Views(vectors)
        found.seq, found.hash = seq, hash
        found.mirror, found.metrics = kept.mirror, kept.metrics
        found.traces.seq, found.traces.of = seq, kept.traces
        found.recent.extend(kept.recent)
        found.unfollowed = kept.unfollowed
        found.graph = graph.Graph(Shelved(self, number, seq, hash), vectors)
        found.graph.asked = kept.asked
        return found

    def save(self, conversation: str, state: views.Views) -> None:
        """Move the snapshot on to this state, whose graph stands on it from now on.

        Raises:
            Stale: it is not the continuation of what is here.
        """
        state.graph.stand_on(self.write(Saving(conversation, state)))

    def write(self, new: Saving) -> Shelved:
        """Write what is new; in any thread. A commit may wait for the disk, and who looks something up does not.

        Raises:
            Stale: it is not the continuation of what is here.
        """
        with self.transaction(write=True) as execute:
            row = execute("state", new.conversation).fetchone()
            if (row[2] if row else 0) != new.since or (row is not None and row[1] != folds()):
                raise Stale
            sum = _sum(new.seq, new.hash, new.blob)
            number = execute(
                "put_state", new.conversation, folds(), new.seq, new.hash, new.blob, sum
            ).fetchone()[0]
            many = self._connections[True].executemany
            many(_SQL["put_node"], ((number, node.seq, node.kind, node.label) for node in new.nodes))
            edges = enumerate(new.edges)
            many(
                _SQL["put_edge"], ((number, graph.since(e), n, e.source, e.kind, e.target) for n, e in edges)
            )
            for name, lists in (("words", new.words), ("links", new.links)):
                there = {}
                if new.since:  # a list that is full already needs nothing of what came before
                    short = [item for item, seqs in lists.items() if len(seqs) < graph.PER_WORD]
                    there = {row[0]: row[1] for row in execute(name, number, json.dumps(short))}
                joined = ((number, item, _joined(there.get(item), seqs)) for item, seqs in lists.items())
                many(_SQL[f"put_{name}"], joined)
        return Shelved(self, number, new.seq, new.hash)

    def forget(self, conversation: str) -> None:
        """Throw a snapshot away."""
        with self.transaction(write=True) as execute:
            row = execute("state", conversation).fetchone()
            if row is not None:
                for name in ("forget", "forget_nodes", "forget_words", "forget_links", "forget_edges"):
                    execute(name, row[0])

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Callable[..., Any]]:
        """One transaction; yields what runs a statement by its name."""
        connection = self._connections[write]
        with self._locks[write], _translated(self.path):
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield lambda name, *values: connection.execute(_SQL[name], values)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        for lock, connection in zip(self._locks, self._connections, strict=True):
            with lock:
                connection.close()


class Shelved:
    """The graph of a snapshot: a `graph.Base`."""

    def __init__(self, shelf: Shelf, number: int, seq: int, hash: str) -> None:
        self.seq = seq
        self._shelf = shelf
        self._number = number
        self._hash = hash

    def check(self) -> None:
        """Whether the shelf still has this state.

        Raises:
            Stale: it has another.
        """
        with self._shelf.transaction() as execute:
            self._check(execute)

    def _check(self, execute: Callable[..., Any]) -> None:
        if execute("seq", self._number, self._hash).fetchone() != (self.seq,):
            raise Stale

    def _read(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._shelf.transaction() as execute:
            self._check(execute)
            found: list[tuple[Any, ...]] = execute(name, self._number, *values).fetchall()
            return found

    def words(self, words: Sequence[str]) -> dict[str, list[int]]:
        """See `graph.Base.words`."""
        return {word: _seqs(seqs) for word, seqs in self._read("words", json.dumps(words))}

    def beside(self, seqs: Sequence[int]) -> dict[int, list[int]]:
        """See `graph.Base.beside`."""
        return {seq: _seqs(found) for seq, found in self._read("links", json.dumps(seqs))}

    def nodes(self, seqs: Sequence[int]) -> dict[int, graph.Node]:
        """See `graph.Base.nodes`."""
        return {row[0]: _node(*row) for row in self._read("nodes", json.dumps(seqs))}

    def page(self, after: int, limit: int) -> list[graph.Node]:
        """See `graph.Base.page`."""
        return [_node(*row) for row in self._read("page", after, limit)]

    def edges(self, after: int, until: int) -> list[graph.Edge]:
        """See `graph.Base.edges`."""
        return [graph.Edge(*row) for row in self._read("edges", after, until)]


_SHELVES: WeakKeyDictionary[base.Ledger, Shelf] = WeakKeyDictionary()


def of(ledger: base.Ledger) -> Shelf | None:
    """The shelf of a ledger, one in a process; None for a ledger that has no place for one.

    Raises:
        errors.StoreError: it cannot be opened.
    """
    if ledger.beside is None:
        return None
    found = _SHELVES.get(ledger)
    if found is None:
        found = _SHELVES[ledger] = Shelf(f"{ledger.beside}-views")
    return found


def close(ledger: base.Ledger) -> None:
    """Let go of a ledger's shelf, before the ledger itself is closed."""
    found = _SHELVES.pop(ledger, None)
    if found is not None:
        found.close()


def folds() -> str:
    """What makes views of facts, as a digest of its source: another version of it wants other snapshots."""
    global _folds
    if not _folds:
        files = (graph, markers, metrics, mirror, traces, views)
        sources = b"".join(Path(str(module.__file__)).read_bytes() for module in files)
        _folds = hashlib.sha256(sources).hexdigest()
    return _folds


_folds = ""


def _connect(path: str) -> apsw.Connection:
    connection = apsw.Connection(path, statementcachesize=50)
    connection.set_busy_timeout(_BUSY_MS)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
    return connection


def _sum(seq: int, hash: str, state: bytes) -> bytes:
    return hashlib.sha256(f"{seq} {hash} ".encode() + state).digest()


def _seqs(blob: bytes) -> list[int]:
    found = array.array("q")
    found.frombytes(blob)
    return found.tolist()


def _joined(kept: bytes | None, seqs: list[int]) -> bytes:
    """The newest of both; a seq is eight bytes."""
    new = array.array("q", seqs[-graph.PER_WORD :]).tobytes()
    return ((kept or b"") + new)[-8 * graph.PER_WORD :]


def _node(seq: int, kind: str, label: str) -> graph.Node:
    return graph.Node(graph.node_id(seq), kind, seq, label)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError, ValueError, msgspec.DecodeError) as e:
        raise errors.StoreError(f"the snapshots in {path!r} cannot be used: {e}; delete the file") from e
