"""Runs the server: opens what it needs, listens, and goes down without losing a run.

    SIGTERM / SIGINT ─► no new runs, /readyz 503, readers and runs go on
                     ─► all runs have ended, or the grace time is over: those left end as `interrupted`
                     ─► readers get their `run-end`, connections close, ledger and providers close
    a second signal  ─► the grace time is over at once

Next: `wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
import uvicorn

from headrace import errors, sinks
from headrace.integrations import toolbox
from headrace.ledger import base as ledger_base
from headrace.ledger import open_ledger
from headrace.providers import prices
from headrace.providers.registry import Registry
from headrace.runlog import MemoryRunLog
from headrace.runs import api
from headrace.runs.engine import Engine
from headrace.server import access, app, wire
from headrace.settings import Settings
from headrace.sinks import following

log = structlog.get_logger("headrace.server")

DEFAULT_PORT = 8642
_CLOSE_S = 3.0  # for readers to take their last bytes


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    insecure: bool = False,
    workers: int = 1,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        host, port: where to listen; port 0 takes a free one.
        insecure: listen on other addresses than loopback without API keys.
        workers: processes; more than one needs a run log that they share.
        on_ready: called with the URL once the server listens; default: print it on stderr.

    Raises:
        errors.UsageError: this cannot be served as asked; the message says what to do.
        errors.StoreError: the ledger cannot be opened.
    """
    check(settings, host=host, insecure=insecure, workers=workers)
    log_to_stderr()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, host, port, on_ready or _announce))


def check(settings: Settings, *, host: str, insecure: bool, workers: int) -> None:
    """Refuse what must not be served.

    Raises:
        errors.UsageError: with what to do.
    """
    if workers < 1:
        raise errors.UsageError(f"--workers must be 1 or more, not {workers}")
    if settings.runlog != "memory":
        raise errors.UsageError(f"the run log {settings.runlog!r} is not available yet; use 'memory'")
    if workers > 1:
        raise errors.UsageError(
            f"--workers {workers} needs a run log that the workers share; the one in memory is each process's own. "
            "Use one worker: it carries thousands of readers"
        )
    if not access.is_loopback(host) and not settings.api_keys and not insecure:
        raise errors.UsageError(
            f"listening on {host} lets others in: set HEADRACE_API_KEYS to keys they must send, "
            "or say --insecure to let everybody in"
        )


async def _serve(settings: Settings, host: str, port: int, ready: Callable[[str], None]) -> None:
    async with (
        opened(settings) as (engine, registry),
        toolbox.opened(settings.tools, settings) as tools,
    ):
        made = app.create_app(engine, settings, registry, tools=tools)
        async with listening(made, host, port) as server:
            stop = _Signals()
            ready(server.url)
            await stop.first.wait()
            log.info("stopping", running=engine.running, queued=engine.queued, grace_s=settings.drain_seconds)
            drain = asyncio.create_task(engine.drain(settings.drain_seconds))
            second = asyncio.create_task(stop.second.wait())
            await asyncio.wait([drain, second], return_when=asyncio.FIRST_COMPLETED)
            second.cancel()
            if not drain.done():
                drain.cancel()
                await asyncio.wait([drain])
                await engine.drain(0)
            stop.restore()


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Engine, Registry]]:
    """An engine with its registry, ledger and run log, as the settings say; closed on the way out."""
    async with contextlib.AsyncExitStack() as stack:
        registry = Registry(settings, files=False)
        ledger: ledger_base.Ledger = open_ledger(settings.store)
        engine = Engine(
            registry,
            MemoryRunLog(retention=settings.retention_seconds),
            ledger,
            price=prices.priced,
            max_running=settings.max_concurrent_runs,
            max_queued=settings.max_queue_length,
            grace_s=settings.grace_seconds,
            timeouts=api.timeouts_of(settings),
            max_run_chars=settings.max_run_chars,
        )
        stack.push_async_callback(engine.close)
        if settings.otel:
            from headrace.integrations import otel

            otel.install(engine)
        if settings.sinks:
            followers = following.install(
                engine, [sinks.of(url.get_secret_value()) for url in settings.sinks]
            )
            stack.push_async_callback(followers.close)
        for record in await ledger.recover():
            log.warning("a run of a dead process was closed", run=record.run)
        yield engine, registry


class Listening(uvicorn.Server):
    """A server in this event loop.

    Attributes:
        url: where it listens.
    """

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self.url = url
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Signals are the runner's."""
        yield


@contextlib.asynccontextmanager
async def listening(made: app.App, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Listening]:
    """Listen for as long as the block runs.

    Raises:
        errors.UsageError: the address cannot be had.
    """
    bound = _bind(host, port)
    config = uvicorn.Config(
        made,
        http=wire.Http,
        ws=wire.WebSocket,
        ws_per_message_deflate=False,  # its windows would take more memory than all else of a reader
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(_CLOSE_S),
        ws_ping_interval=15.0,
        ws_max_size=64 * 1024,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    shown = f"[{host}]" if ":" in host else host
    server = Listening(config, f"http://{shown}:{bound.getsockname()[1]}")
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await server.listens.wait()
        yield server
    finally:
        server.should_exit = True
        await task


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted sockets take it over: else the kernel lets a slow reader's queue grow to megabytes.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wire.SEND_BUFFER)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise errors.UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another with --host or --port"
        ) from error
    return bound


class _Signals:
    """The first and the second request to stop."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked)

    def _asked(self) -> None:
        (self.second if self.first.is_set() else self.first).set()

    def restore(self) -> None:
        """Give the signals back."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log to stderr: for people on a terminal, else one JSON object a line. No values of local variables."""
    render: list[Any]
    if sys.stderr.isatty():
        render = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def _announce(url: str) -> None:
    print(f"Headrace listens on {url} (Ctrl-C stops it)", file=sys.stderr, flush=True)
