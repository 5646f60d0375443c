"""A real RabbitMQ server for tests: its own node, its own port mapper (epmd), free ports, a folder of its own.

    with RabbitMQ() as rabbitmq:
        ...                  # rabbitmq.url (AMQP), rabbitmq.stream_url, rabbitmq.kill(), rabbitmq.start() again

A start takes seconds: make one for a whole session of tests. It runs as whoever runs the tests.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
from pathlib import Path

from headrace import errors
from headrace.testing import programs

PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
_CONF = """\
listeners.tcp.1 = 127.0.0.1:{port}
stream.listeners.tcp.1 = 127.0.0.1:{stream_port}
stream.advertised_host = 127.0.0.1
stream.advertised_port = {stream_port}
disk_free_limit.absolute = 10MB
log.console = true
log.console.level = warning
log.file = false
"""
_TLS = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.certfile = {certificate}
ssl_options.keyfile = {key}
"""


class RabbitMQ(programs.Program):
    """A server with the stream plug-in.

    Args:
        certificate: PEM files, the certificate and its key: it listens for TLS as well, at `tls_url`.

    Raises:
        errors.UsageError: there is no `rabbitmq-server`, or no `epmd`.
    """

    name = "rabbitmq"
    start_timeout = 120.0

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        found, mapper = programs.find(*PROGRAMS), programs.find("epmd")
        if found is None or mapper is None:
            raise errors.UsageError("there is no rabbitmq-server (with epmd) on this machine")
        super().__init__()
        self._program, self._mapper = found, mapper
        self._mapping: subprocess.Popen[bytes] | None = None
        self._mapping_guard: subprocess.Popen[bytes] | None = None
        self._mapper_port = programs.free_port()
        self._node_port = programs.free_port()
        self._node = f"headrace-{secrets.token_hex(4)}@localhost"
        self.port = programs.free_port()
        self.stream_port = programs.free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self.stream_url = f"rabbitmq-stream://guest:guest@127.0.0.1:{self.stream_port}/"
        conf = _CONF.format(port=self.port, stream_port=self.stream_port)
        self.tls_url = ""
        if certificate is not None:
            port = programs.free_port()
            conf += _TLS.format(port=port, certificate=certificate[0], key=certificate[1])
            self.tls_url = f"amqps://guest:guest@localhost:{port}/"
        (self.folder / "rabbitmq.conf").write_text(conf, "utf-8")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_stream].\n", "utf-8")
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16), "utf-8")
        cookie.chmod(0o400)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """See `Program.command`."""
        folder = str(self.folder)
        return [self._program], {
            "HOME": folder,
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_BASE": folder,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def start(self) -> RabbitMQ:
        """See `Program.start`."""
        if self._mapping is None:
            self._mapping = subprocess.Popen(
                [self._mapper, "-port", str(self._mapper_port), "-address", "127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._mapping_guard = programs.guard(self._mapping.pid)
        super().start()
        return self

    def answers(self) -> bool:
        """Whether it speaks AMQP, and streams."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if not connection.recv(8).startswith(b"\x01\x00\x00"):
                    return False
            socket.create_connection(("127.0.0.1", self.stream_port), timeout=5).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Kill it and its port mapper, and remove the folder."""
        super().close()
        if self._mapping is not None:
            programs.dismiss(self._mapping_guard)
            with contextlib.suppress(ProcessLookupError):
                self._mapping.kill()
            self._mapping.wait()
            self._mapping = None
