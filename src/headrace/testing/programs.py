"""Real servers under test as child processes: free ports, a folder of their own, `kill -9`, and up again.

Each server keeps its ports and its folder when it is started again, so clients can come back to it and find what
it had on disk. Next: `redis`, `rabbitmq`.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace import errors

_POLL_S = 0.01


def find(*places: str) -> str | None:
    """The first of the programs (names, or paths) that is there."""
    return next((found for place in places if (found := shutil.which(place))), None)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def guard(pid: int) -> subprocess.Popen[bytes]:
    """A shell that kills a process group once this process is gone, however that ended: it reads a pipe of ours."""
    return subprocess.Popen(
        ["sh", "-c", 'cat > /dev/null; kill -9 "-$1"', "guard", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def dismiss(guard: subprocess.Popen[bytes] | None) -> None:
    """End a guard without what it guards."""
    if guard is not None:
        guard.kill()
        guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()


class Program:
    """A server in a process group of its own; a context manager.

    Attributes:
        folder: where it keeps what it keeps; removed by `close`.
        url: where it is.
    """

    name = "program"
    start_timeout = 60.0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"headrace-{self.name}-"))
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Its command line, and the environment beside PATH."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """The end of what it said."""
        path = self.folder / "output"
        return path.read_text("utf-8", "replace")[-2000:] if path.exists() else ""

    @property
    def pid(self) -> int:
        """Its process id, 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start it and wait until it serves.

        Raises:
            errors.RunError: it did not come up; the message has what it said.
        """
        if self._process is not None:
            return self
        arguments, more = self.command()
        environment = {"PATH": os.environ.get("PATH", ""), **more}  # a child, not a setting
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard = guard(self._process.pid)
        self._wait(self.answers, "did not come up")
        return self

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.start_timeout
        while not reached():
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                raise errors.RunError(f"{self.name} {what}: {self.log}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """`kill -9`; returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            dismiss(self._guard)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def pause(self) -> None:
        """Stop it from working without closing a connection; `resume` goes on."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """See `pause`."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
