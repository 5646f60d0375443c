"""A real PostgreSQL server, made for the occasion: to be killed, stopped and started again.

    with Postgres() as server:
        store = ledger.open_ledger(server.store())   # a schema of its own at each call
        ...                                          # server.kill(), server.start(), server.stop()

Its data lie in a temporary folder and it listens on a free port of loopback. The server refuses to run as root, so
then it runs as the user `postgres` (`runuser`). Durability is the real one: `fsync` stays on. Next: `relay`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from headrace import errors

USER = "postgres"


class Postgres:
    """A server in child processes.

    Args:
        start_timeout: seconds until it must answer.

    Raises:
        errors.UsageError: `missing-extra`: its programs are not there.
    """

    def __init__(self, *, start_timeout: float = 30.0) -> None:
        self._programs = programs()
        self._timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))
        self.data = self._folder / "data"
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        if os.getuid() == 0:
            shutil.chown(self._folder, USER, USER)
        done = self._run(
            "initdb", "-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"
        )
        if done.returncode:
            self.remove()
            raise errors.RunError(f"initdb failed: {done.stderr.decode()[-2000:]}")

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def store(self) -> str:
        """The URL of a ledger that nobody has used."""
        return f"{self.url}?schema=t{uuid.uuid4().hex[:12]}"

    def start(self) -> Postgres:
        """Start it and wait until it answers.

        Raises:
            errors.RunError: it did not come up.
        """
        log = self._folder / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [
                    *_as_user(),
                    *(self._programs["postgres"], "-D", str(self.data), "-p", str(self.port)),
                    *("-h", "127.0.0.1", "-k", str(self._folder), "-c", "max_connections=200"),
                ],
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        until = time.monotonic() + self._timeout
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode:
            if self._process.poll() is not None or time.monotonic() > until:
                raise errors.RunError(f"PostgreSQL did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """`kill -9` of all its processes, as a power cut would; returns when they are gone."""
        if self._process is None:
            return
        pids = self._pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(self._timeout)
        self._process = None
        until = time.monotonic() + self._timeout
        while any(map(_runs, pids)) and time.monotonic() < until:
            time.sleep(0.02)
        # what the next start waits for, where a child was not reaped in time
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Shut it down in order; clients are cut off."""
        if self._process is None:
            return
        self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w")
        self._process.wait(self._timeout)
        self._process = None

    def remove(self) -> None:
        """Remove its data."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*_as_user(), self._programs[program], *arguments],
            capture_output=True,
            cwd=self._folder,
            check=False,
        )

    def _pids(self) -> list[int]:
        """The server and its children."""
        try:
            server = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return []
        found = [server]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == server:
                    found.append(int(stat.parent.name))
        return found

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.remove()


def programs() -> dict[str, str]:
    """The server's programs, by name.

    Raises:
        errors.UsageError: `missing-extra`, when one is not there.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    found = {}
    for name in ("initdb", "postgres", "pg_ctl", "pg_isready"):
        path = shutil.which(name) or next((shutil.which(name, path=str(p)) for p in reversed(versions)), None)
        if path is None:
            raise errors.UsageError(
                f"there is no program {name!r}; install PostgreSQL's server", code="missing-extra"
            )
        found[name] = path
    if os.getuid() == 0 and shutil.which("runuser") is None:
        raise errors.UsageError(
            "PostgreSQL does not run as root, and there is no runuser", code="missing-extra"
        )
    return found


def _as_user() -> list[str]:
    return ["runuser", "-u", USER, "--"] if os.getuid() == 0 else []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
