"""A real Redis server for tests: on a free port, in a folder of its own; what it has answered is on disk.

    with Redis() as redis:
        ...                  # redis.url, redis.kill(), redis.start() again, redis.pause()

Next: `rabbitmq`.
"""

from __future__ import annotations

import socket

from headrace import errors
from headrace.testing import programs

PROGRAM = "redis-server"


class Redis(programs.Program):
    """A server that appends to its file before it answers, so that `kill -9` loses nothing it has answered.

    Raises:
        errors.UsageError: there is no `redis-server`.
    """

    name = "redis"

    def __init__(self) -> None:
        found = programs.find(PROGRAM)
        if found is None:
            raise errors.UsageError(f"there is no {PROGRAM} on this machine")
        super().__init__()
        self._program = found
        self.port = programs.free_port()
        self.url = f"redis://127.0.0.1:{self.port}"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """See `Program.command`."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",  # written before the answer; synced for power cuts, which are not tested
            "daemonize": "no",
        }
        return [
            self._program,
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ], {}

    def answers(self) -> bool:
        """Whether it has loaded what it had, and serves."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64) == b"+PONG\r\n"
        except OSError:
            return False
