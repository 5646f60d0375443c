"""Who is alive: every worker that has a ledger open holds a lock on a file of its own, for life.

The kernel drops a `flock` when its process ends, however it ends, and a worker's name is never used again, so
`kill -9` and reused process ids cannot deceive. The files lie in a folder beside the database,
`<database>-workers/`: one `<worker>.lock` each, and `folder.lock`, which is held while a worker arrives,
while the others are counted, and while a database is opened or migrated. All are empty, and the folder may be
removed when nobody has the database open.

Known limits: a child made by a bare `os.fork` while a ledger is open shares the lock, so its parent counts as
alive until both are gone; on a network file system `flock` is as good as the server makes it. Not here: what
is done about the dead (`sqlite`). Next: `audit`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".lock"
_FOLDER_LOCK = "folder" + _SUFFIX


class Worker:
    """This worker's sign of life, from construction (under `exclusive`) until `close`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / (name + _SUFFIX)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Go. The file is removed while it is still locked; no file and no lock both mean gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def folder_of(database: Path) -> Path:
    """The folder of a database's workers, made when it is not there."""
    folder = database.with_name(database.name + "-workers")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder: nobody arrives and nobody else counts meanwhile. Blocks."""
    file = os.open(folder / _FOLDER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def is_alive(folder: Path, name: str) -> bool:
    """Whether a worker holds its lock. Call it under `exclusive`, else two who ask deceive each other."""
    try:
        file = os.open(folder / (name + _SUFFIX), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def tidy(folder: Path) -> None:
    """Remove the files that dead workers left. Call it under `exclusive`."""
    for path in folder.glob("*" + _SUFFIX):
        if path.name != _FOLDER_LOCK and not is_alive(folder, path.name.removesuffix(_SUFFIX)):
            path.unlink(missing_ok=True)
