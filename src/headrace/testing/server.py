"""A real server in a process of its own, to be killed, stopped and started again.

    with Server(store="sqlite:///…", environment={"OPENAI_BASE_URL": relay.url}) as server:
        ...                        # server.url, server.kill(), server.terminate(), server.start() again

Every server listens on a free port of loopback unless it is told one; a server that is started again keeps its
port, so that readers can come back to it. Next: `runs`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

from headrace import errors

_LISTENS = re.compile(r"listens on (http://\S+)")


class Server:
    """`headrace serve` in a child process.

    Args:
        store: the ledger's URL.
        environment: variables added to a clean environment (PATH and the Python path only).
        arguments: more of the command line.
        start_timeout: seconds until it must listen.
    """

    def __init__(
        self,
        *,
        store: str = "memory",
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        start_timeout: float = 30.0,
    ) -> None:
        self.url = ""
        self.log: list[str] = []
        self._store = store
        self._environment = dict(environment or {})
        self._arguments = arguments
        self._timeout = start_timeout
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._listening = threading.Event()
        self._reader: threading.Thread | None = None

    def start(self) -> Server:
        """Start it and wait until it listens.

        Raises:
            errors.RunError: it did not come up; the message has what it said.
        """
        base = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": os.environ.get("HOME", "/"),
        }  # a child, not a setting
        source = os.pathsep.join(path for path in sys.path if path)
        self._listening.clear()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "headrace", "serve", "--port", str(self._port)),
                *("--store", self._store, *self._arguments),
            ],
            env={**base, "PYTHONPATH": source, "NO_COLOR": "1", **self._environment},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._listening.wait(self._timeout) or not self.url:
            self.kill()
            raise errors.RunError(f"the server did not come up: {''.join(self.log)[-2000:]}")
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line)
                found = _LISTENS.search(line)
                if found:
                    self.url = found[1]
                    self._port = int(self.url.rpartition(":")[2])
                    self._listening.set()
        self._listening.set()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """`kill -9`; returns when it is gone."""
        self._signal(signal.SIGKILL)

    def terminate(self, timeout: float = 30.0) -> int:
        """SIGTERM; returns the exit code."""
        return self._signal(signal.SIGTERM, timeout)

    def signal(self, number: int) -> None:
        """Send a signal and do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def _signal(self, number: int, timeout: float = 30.0) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        code = self._process.wait(timeout)
        if self._reader is not None:
            self._reader.join(timeout)
        return code

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
