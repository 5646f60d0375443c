"""The child process, held from this side: started, spoken to a line at a time, killed when it is over or too slow.

No pool: a start takes a few tens of milliseconds (`tests/procedures/test_sandbox.py` prints it). The wall-clock
limit runs only while it is the program's turn; what the host does for it has limits of its own. Next: `host`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from headrace import errors

_CHILD = Path(__file__).with_name("child.py")
_MAX_LINE = 17 * 1024 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one program may use.

    Attributes:
        wall_s: seconds between two calls to the host.
        cpu_s: seconds of CPU in all.
        memory_mb: megabytes of Lua values.
    """

    wall_s: float = 300.0
    cpu_s: float = 10.0
    memory_mb: int = 256


class Asked(msgspec.Struct, frozen=True):
    """What the program wants of the host."""

    kind: str = msgspec.field(name="ask")
    given: dict[str, Any] = msgspec.field(name="with", default_factory=dict)
    line: int = 0


_decoder = msgspec.json.Decoder(Asked)
_encode = msgspec.json.Encoder().encode


class Sandbox:
    """One program in its process. Use it as an async context manager.

    Args:
        program: the Lua text.
        name: of the file, for messages.
        order: further values for the prelude (inputs, seed, check).

    Raises:
        errors.MissingExtra: there is no `lupa`.
    """

    def __init__(self, program: str, name: str, limits: Limits, order: Mapping[str, Any]) -> None:
        self._order = {"program": program, "name": name, "limits": msgspec.to_builtins(limits), **order}
        self._name = name
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None
        self._line = 0

    async def __aenter__(self) -> Sandbox:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-X", "utf8", str(_CHILD), _lupa()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            limit=_MAX_LINE,
        )
        await self._write(_encode(self._order))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has just gone by itself
        await process.wait()

    async def next(self) -> Asked:
        """What the program asks next.

        Raises:
            errors.UsageError: `procedure-error`: it took too long, used too much, or died.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._limits.wall_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self._over(
                f"the program ran for more than {self._limits.wall_s:g} s without asking for anything"
            ) from None
        except ValueError:
            raise self._over("the program sent more than 16 MB at once") from None
        if not line.endswith(b"\n"):
            raise self._over(self._death(await self._process.wait()))
        try:
            asked = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise self._over("the interpreter spoke nonsense") from error
        self._line = asked.line or self._line
        return asked

    async def answer(self, value: Any) -> None:
        """Answer what was asked."""
        await self._write(_encode({"answer": value}))

    async def refuse(self, message: str) -> None:
        """Answer with an error that the program may catch."""
        await self._write(_encode({"error": message}))

    async def run(self, id: str, value: Any) -> None:
        """Have a tool's function run before the answer; `returned` comes next, after what it asks itself."""
        await self._write(_encode({"run": {"id": id, "with": value}}))

    async def _write(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, BrokenPipeError):
            pass  # `next` says how it died

    def _death(self, code: int) -> str:
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return f"the program used more than {self._limits.cpu_s:g} s of CPU"
        return f"the interpreter died (exit {code}), most likely of memory ({self._limits.memory_mb} MB)"

    def _over(self, what: str) -> errors.UsageError:
        after = f" (its last call to the host was in line {self._line})" if self._line else ""
        return errors.UsageError(
            f"{self._name}: {what}{after}",
            code="procedure-error",
            details={"file": self._name, "line": self._line or None},
        )


def walls() -> list[str]:
    """Which of the kernel's own walls stand around a program here: `network namespace`, `system calls`, or none.

    Raises:
        OSError, subprocess.SubprocessError: the child could not be started.
    """
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", str(_CHILD), "--walls"],
        env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=True,
    )  # fmt: skip
    return msgspec.json.decode(told.stdout, type=list[str])


def _lupa() -> str:
    """The folder that has `lupa`."""
    found = util.find_spec("lupa")
    if found is None or found.origin is None:
        raise errors.MissingExtra("procedures", "running Lua")
    return str(Path(found.origin).parents[1])
