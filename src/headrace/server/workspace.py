"""The workspace: one folder whose programs the IDE page shows, edits and runs.

`HEADRACE_WORKSPACE` or `serve --workspace DIR` names it. Where neither does, it is the folder that the server was
started in, as long as only this machine can ask (loopback), and it is neither the root nor somebody's home; else
there is none. Who listens further has to say what others may edit.

Nothing leads out of it: each part of a path is opened below the folder before it, and none may be a link, so that no
link made at the wrong moment helps. What begins with a dot, and `headrace.toml`, which may hold keys, is not there.
Only texts can be written (`WRITES`): on a machine with other users the folder's code stays the owner's. A write wants
the tag of what it replaces, so that nobody's change is lost. No HTTP here. Next: `ide`, its routes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import msgspec

from headrace import errors
from headrace.procedures.files import secret
from headrace.server import access
from headrace.settings import Settings

MAX_FILE_BYTES = 1024 * 1024
MAX_ENTRIES = 5_000
MAX_DEPTH = 12
MAX_PATH = 1_024
PROGRAMS = (".tac", ".lua")
WRITES = frozenset(
    (*PROGRAMS, ".csv", ".html", ".json", ".jsonl", ".md", ".tsv", ".txt", ".xml", ".yaml", ".yml")
)
"""Endings of the files that may be written."""
SKIPPED = frozenset(("__pycache__", "node_modules"))
_LEDGER = re.compile(r"\.db(-\w+)?\Z")
OFF = ("none", "off")


class Refused(errors.UsageError):
    """A path that leads nowhere, or out."""

    default_code = "bad-request"


class Missing(Refused):
    """A file that is not there."""

    http_status = 404


class Stale(Refused):
    """A file that is not as the writer knew it."""

    http_status = 412


class Entry(msgspec.Struct, frozen=True):
    """A file or folder; `path` is below the workspace, with `/`."""

    path: str
    kind: str
    size: int = 0
    modified: datetime | None = None


class Text(msgspec.Struct, frozen=True):
    """A file as it was read."""

    path: str
    content: str
    etag: str


def root_of(settings: Settings, host: str) -> Path | None:
    """The workspace of a server that listens on `host`, None for none.

    Raises:
        errors.UsageError: the folder that was named is none.
    """
    given = settings.workspace
    if given is None:
        here = Path.cwd()
        fits = access.is_loopback(host) and here != Path(here.anchor) and here != Path.home()
        return here if fits else None
    if given.lower() in OFF:
        return None
    root = Path(given).expanduser()
    if not root.is_dir():
        raise errors.UsageError(
            f"the workspace {given!r} is no folder; HEADRACE_WORKSPACE or --workspace names one"
        )
    return root


class Workspace:
    """The files of one folder. All methods block; call them in a thread.

    Args:
        root: the folder; it may be reached through a link, nothing below it may.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def tree(self) -> tuple[list[Entry], bool]:
        """Everything in it, folders before what is in them; and whether there is more than is told."""
        found: list[Entry] = []
        more = self._list(self.root, "", 1, found)
        return found, more

    def _list(self, folder: Path, above: str, depth: int, found: list[Entry]) -> bool:
        try:
            with os.scandir(folder) as scan:
                entries = sorted(
                    scan, key=lambda e: (not e.is_dir(follow_symlinks=False), e.name.lower(), e.name)
                )
        except OSError:  # a folder that the server may not read, or that has just gone
            return False
        for entry in entries:
            if (
                secret(entry.name)
                or _LEDGER.search(entry.name)
                or entry.is_symlink()
                or not _utf8(entry.name)
            ):
                continue
            path = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name in SKIPPED:
                    continue
                if len(found) >= MAX_ENTRIES:
                    return True
                found.append(Entry(path, "folder"))
                if depth < MAX_DEPTH and self._list(Path(entry.path), f"{path}/", depth + 1, found):
                    return True
            elif entry.is_file(follow_symlinks=False):
                if len(found) >= MAX_ENTRIES:
                    return True
                about = entry.stat(follow_symlinks=False)
                found.append(Entry(path, "file", about.st_size, datetime.fromtimestamp(about.st_mtime, UTC)))
        return False

    def read(self, path: str) -> Text:
        """A text.

        Raises:
            Missing, Refused, errors.UsageError: it is not there, not below, no UTF-8 text, too large.
        """
        parts = _parts(path)
        with self._folder(parts) as folder:
            data = _read(folder, parts[-1], path)
        try:
            return Text(path, data.decode("utf-8"), _etag(data))
        except UnicodeDecodeError as error:
            raise Refused(f"{path} is not UTF-8 text") from error

    def write(self, path: str, content: str, *, known: str | None) -> Text:
        """Write a text, whole or not at all.

        Args:
            known: the tag of the content that it replaces; None: there must be none yet.

        Raises:
            Stale: it is not as `known` says; `details.etag` says how it is.
            Missing, Refused, errors.UsageError: it cannot be written.
        """
        parts = _parts(path)
        if PurePosixPath(path).suffix not in WRITES:
            raise Refused(f"{path} cannot be written here: it must end in {', '.join(sorted(WRITES))}")
        data = content.encode("utf-8")
        if len(data) > MAX_FILE_BYTES:
            raise _too_large(path, len(data))
        with self._folder(parts, make=known is None) as folder:
            try:
                now = _etag(_read(folder, parts[-1], path))
            except FileNotFoundError:
                now = None
            if now != known:
                what = "is there already" if known is None else "has changed since you opened it"
                raise Stale(
                    f"{path} {what}; look at it before you write", details={"etag": now, "where": "path"}
                )
            _replace(folder, parts[-1], data)
        return Text(path, content, _etag(data))

    @contextlib.contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        """The folder of a path, opened a part at a time."""
        shown = "/".join(parts)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                below = os.open(part, flags, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        except FileNotFoundError as error:
            raise Missing(f"there is no {shown} in the workspace", details={"where": "path"}) from error
        except OSError as error:
            why = "a link leads out of the workspace" if error.errno == errno.ELOOP else error.strerror
            raise Refused(f"{shown}: {why}", details={"where": "path"}) from error
        finally:
            os.close(folder)


def _parts(path: str) -> tuple[str, ...]:
    """The parts of a path that stays below.

    Raises:
        Refused: it does not, or is hidden.
    """
    parts = tuple(path.split("/"))
    if not path or len(path) > MAX_PATH or "\0" in path or "\\" in path or not _utf8(path):
        raise Refused(
            "path must name a file in the workspace, with / between its parts", details={"where": "path"}
        )
    if any(part in ("", ".", "..") for part in parts) or len(parts) > MAX_DEPTH:
        raise Refused(f"path {path[:200]!r} does not stay in the workspace", details={"where": "path"})
    if any(map(secret, parts)):
        raise Refused(f"path {path[:200]!r} is hidden, or may hold keys", details={"where": "path"})
    return parts


def _read(folder: int, name: str, path: str) -> bytes:
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Refused(f"{path} is no file", details={"where": "path"})
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(path, about.st_size)
    return data


def _replace(folder: int, name: str, data: bytes) -> None:
    """Put a file in another's place: a reader sees the old one or the new one."""
    new = f".{secrets.token_hex(8)}.new"
    mode = 0o644
    with contextlib.suppress(FileNotFoundError):
        mode = stat.S_IMODE(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=folder)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)
        raise


def _etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _utf8(name: str) -> bool:
    return name.isprintable() and not any("\ud800" <= char <= "\udfff" for char in name)


def _too_large(path: str, size: int) -> errors.UsageError:
    return errors.UsageError(
        f"{path}: {size:,} bytes are too many; the limit is {MAX_FILE_BYTES:,}",
        code="too-large",
        details={"where": "path", "limit": MAX_FILE_BYTES},
    )
