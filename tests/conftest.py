"""What every test may use: coroutine tests, the real engine, the shared material; and no way to a network.

Helpers that tests share live in `headrace.testing`, because test files cannot import each other.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import os
import re
import signal
import socket
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.testing.engine import Engine
from headrace.testing.postgres import Postgres
from headrace.testing.rabbitmq import RabbitMQ
from headrace.testing.redis import Redis

ROOT = Path(__file__).resolve().parents[1]
_BY_FIXTURE = {"engine", "recordings", "redis", "rabbitmq", "postgres"}
TIME_LIMIT = 60.0  # seconds for a coroutine test that sets no limit of its own


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a script; the programs under test would not hear a Ctrl-C either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", f"time_limit(seconds): for a coroutine test; default {TIME_LIMIT:g}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the engine, the recordings or a real server has the marker of that name."""
    for item in items:
        for name in _BY_FIXTURE & set(getattr(item, "fixturenames", ())):
            item.add_marker(name)


# -- tiers that must run ----------------------------------------------------------------------------------

_REQUIRED = {name for name in os.environ.get("HEADRACE_REQUIRE", "").split(",") if name}
_ELSEWHERE = {"dspy"}  # tiers with an environment of their own: required there, and skipped here
_missed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where HEADRACE_REQUIRE names a tier (engine, browser, redis, …), its tests may not be skipped."""
    if report.skipped and not hasattr(report, "wasxfail") and _REQUIRED & set(report.keywords):
        _missed.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that is skipped as a whole counts too: its tiers are those that its text marks it with."""
    file = ROOT / report.nodeid
    text = file.read_text(encoding="utf-8") if report.skipped and file.is_file() else ""
    tiers = set(re.findall(r"pytest\.mark\.(\w+)", text))
    if _REQUIRED & tiers and not _ELSEWHERE & tiers - _REQUIRED:
        _missed.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if _missed and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _missed:
        terminalreporter.section("skipped, but required by HEADRACE_REQUIRE", red=True)
        for nodeid in _missed:
            terminalreporter.line(nodeid)


# -- coroutine tests --------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on an event loop of its own, within a time limit."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    marker = pyfuncitem.get_closest_marker("time_limit")
    seconds = float(marker.args[0]) if marker else TIME_LIMIT
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(_within(seconds, pyfuncitem.obj(**arguments)))
    return True


async def _within(seconds: float, test: Awaitable[None]) -> None:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await test
    except TimeoutError:
        if limit.expired():
            pytest.fail(f"the test was still waiting after {seconds:g} s (mark it time_limit to allow more)")
        raise


# -- no network -------------------------------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connecting to, or looking up, anything but this machine fails the test."""

    def guard(owner: Any, name: str, host_of: Any) -> None:
        real = getattr(owner, name)

        def guarded(*arguments: Any, **options: Any) -> Any:
            host = host_of(*arguments)
            if isinstance(host, str) and not _is_loopback(host):
                pytest.fail(f"a test reached out to {host!r}: tests talk to this machine only")
            return real(*arguments, **options)

        patch.setattr(owner, name, guarded)

    def peer(sock: socket.socket, address: Any) -> Any:
        return address[0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None

    with pytest.MonkeyPatch.context() as patch:
        guard(socket.socket, "connect", peer)
        guard(socket.socket, "connect_ex", peer)
        guard(socket, "getaddrinfo", lambda host, *_: "" if host == "0.0.0.0" else host)
        yield


# -- what tests run against -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The real inference engine, one a session, eight slots."""
    try:
        running = Engine(parallel=8).start()
    except errors.HeadraceError as error:
        if error.code == "missing-extra":
            pytest.skip(str(error))
        raise
    yield running
    running.stop()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis server of the test's own; a start takes some 20 ms."""
    pytest.importorskip("redis", reason="the extra redis is not installed")
    try:
        server = Redis()
    except errors.UsageError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture(scope="session")
def _rabbitmq() -> Iterator[RabbitMQ]:
    try:
        server = RabbitMQ()
    except errors.UsageError as error:
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def rabbitmq(_rabbitmq: RabbitMQ) -> RabbitMQ:
    """The RabbitMQ server, one a session (a start takes seconds), running: a test may have killed it."""
    return _rabbitmq.start()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server, one a session; `postgres.store()` is a ledger of the test's own."""
    try:
        import asyncpg  # noqa: F401

        made = Postgres()
    except ModuleNotFoundError:
        pytest.skip("the driver is missing: pip install 'headrace[postgres]'")
    except errors.HeadraceError as error:
        if error.code == "missing-extra":
            pytest.skip(str(error))
        raise
    with made:
        yield made


@pytest.fixture(scope="session")
def shared() -> Path:
    """The material that is not part of the project: HEADRACE_SHARED, or `shared` beside the checkout."""
    given = os.environ.get("HEADRACE_SHARED")
    places = [Path(given)] if given else [root.parent / "shared" for root in _checkouts()]
    for place in places:
        if place.is_dir():
            return place
    pytest.skip(f"no shared material at {places[0]} (HEADRACE_SHARED says where else)")


@pytest.fixture(scope="session")
def recordings(shared: Path) -> Path:
    """The folder of recorded provider streams, with `index.json`."""
    folder = shared / "recordings"
    if not (folder / "index.json").is_file():
        pytest.skip(f"no recorded provider streams in {folder}")
    return folder


def _checkouts() -> list[Path]:
    """This checkout and, when it is a git worktree, the one it belongs to."""
    link = ROOT / ".git"
    if not link.is_file():
        return [ROOT]
    gitdir = Path(link.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
    return [ROOT, gitdir.parents[2]]  # <checkout>/.git/worktrees/<name>
