"""The interpreter: Lua in a process of its own, which can compute and ask, and nothing else.

Started by `sandbox` as a script, without an environment, with the folder of `lupa` as its one argument. It reads one
JSON line (program, limits, seed), shuts every door, runs the program, and speaks JSON lines: what it asks for goes
out, answers come in. This file imports nothing of Headrace and nothing outside the standard library but Lua.

Of Python the program sees no object: the prelude gets four functions, keeps them in locals, and each of them takes
and gives plain values and never raises. A filter refuses every attribute in case one slips through. Next:
`prelude.lua`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MAX_DEPTH = 64
MAX_LINE = 16 * 1024 * 1024
_BASE_MB = 192  # address space of the Python around the Lua
_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # of unshare(2)
_NO_NEW_PRIVILEGES, _SECCOMP = 38, 22  # of prctl(2)
_REFUSED, _ALLOWED = 0x00050001, 0x7FFF0000  # of seccomp(2): EPERM, and on it goes
# By machine its number for the kernel, and of these the numbers: read, write, close, fstat, lseek, mmap, mprotect,
# munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn, mremap, madvise, sched_yield, getpid, exit, times,
# getrusage, sigaltstack, gettid, futex, clock_gettime, clock_nanosleep, exit_group, getrandom, restart_syscall, rseq.
_CALLS = {
    "x86_64": (0xC000003E, (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 25, 28, 24, 39, 60, 100, 98, 131, 186, 202, 228,
                            230, 231, 318, 219, 334)),
    "aarch64": (0xC00000B7, (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 216, 233, 124, 172, 93, 153, 165,
                             132, 178, 98, 113, 115, 94, 278, 128, 293)),
}  # fmt: skip


class _Unfit(Exception):
    """A value that has no JSON."""


def main() -> None:
    """Run the one program, and leave."""
    if sys.argv[1] == "--walls":  # for `headrace doctor`
        print(json.dumps(_shut({"cpu_s": 5, "memory_mb": 64})))
        return
    sys.path.append(sys.argv[1])
    from lupa import lua54

    inp, out = sys.stdin.buffer, sys.stdout.buffer
    order = json.loads(inp.readline(MAX_LINE))
    limits = order["limits"]
    lua = lua54.LuaRuntime(
        unpack_returned_tuples=True,
        register_eval=False,
        register_builtins=False,
        attribute_filter=_refuse,
        max_memory=limits["memory_mb"] * 1024 * 1024,
        encoding="utf-8",
    )
    with open(os.path.join(os.path.dirname(__file__), "prelude.lua"), encoding="utf-8") as file:
        prelude = lua.compile(file.read(), name="=headrace")
    _shut(limits)
    table_type = type(lua.table())
    function_type = type(prelude)

    def to_python(value: Any, where: str = "", depth: int = 0) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):
                raise _Unfit(f"{where or 'the value'} is {value}, which has no JSON")
            return value
        if not isinstance(value, table_type):
            kind = "a function" if isinstance(value, function_type) else f"a {type(value).__name__}"
            raise _Unfit(f"{where or 'the value'} is {kind}, which has no JSON")
        if depth > MAX_DEPTH:
            raise _Unfit(f"{where} is nested more than {MAX_DEPTH} deep, or holds itself")
        items = list(value.items())
        if items and all(type(key) is int for key, _ in items):
            keys = sorted(key for key, _ in items)
            if keys == list(range(1, len(keys) + 1)):
                found = dict(items)
                return [to_python(found[i], f"{where}[{i}]", depth + 1) for i in keys]
        out: dict[str, Any] = {}
        for key, item in items:
            if not isinstance(key, str | int | float) or isinstance(key, bool):
                raise _Unfit(f"{where or 'the value'} has a key that is not a string")
            out[str(key)] = to_python(item, f"{where}.{key}" if where else str(key), depth + 1)
        return dict(sorted(out.items()))

    def to_lua(value: Any) -> Any:
        if isinstance(value, dict):
            made = lua.table()
            for key, item in value.items():
                made[key] = to_lua(item)
            return made
        if isinstance(value, list):
            made = lua.table()
            for index, item in enumerate(value, 1):
                made[index] = to_lua(item)
            return made
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return float(value)
        return value

    def send(message: dict[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise _Unfit("the value is larger than 16 MB")
        out.write(line)
        out.flush()

    def receive() -> Any:
        line = inp.readline()
        if not line:
            os._exit(0)  # the host has gone
        return json.loads(line)

    def ask(kind: str, arguments: Any, line: int) -> tuple[Any, ...]:
        """One question: `("answer", value)`, `("error", words)` or `("run", what, value)`; then `ask("returned")`."""
        try:
            send({"ask": kind, "with": to_python(arguments), "line": line})
            reply = receive()
            if "run" in reply:
                return "run", to_lua(reply["run"])
            if "error" in reply:
                return "error", reply["error"]
            return "answer", to_lua(reply.get("answer"))
        except _Unfit as error:
            return "error", str(error)
        except (UnicodeDecodeError, UnicodeEncodeError):
            return "error", "a string is not UTF-8"
        except MemoryError:
            return "error", "not enough memory"
        except Exception as error:
            return "error", f"{type(error).__name__}"

    def encode(boxed: Any) -> tuple[Any, ...]:
        try:
            return True, json.dumps(to_python(boxed[1]), ensure_ascii=False)
        except _Unfit as error:
            return False, str(error)
        except Exception as error:
            return False, f"{type(error).__name__}"

    def decode(boxed: Any) -> tuple[Any, ...]:
        try:
            return True, to_lua(json.loads(boxed[1]))
        except RecursionError:
            return False, "is nested too deep"
        except Exception as error:
            return False, str(error)

    try:
        prelude(ask, encode, decode, to_lua(order))
    except MemoryError:
        send({"ask": "failed", "with": {"message": "not enough memory"}, "line": 0})
    except Exception as error:
        send({"ask": "failed", "with": {"message": str(error)}, "line": 0})


def _refuse(value: Any, name: Any, setting: bool) -> Any:
    raise AttributeError("not reachable")


def _shut(limits: dict[str, Any]) -> list[str]:
    """From here on: no new file, socket, process, nor more memory or time than allowed. What of `_Walls` stands."""
    import resource

    walls = _Walls()
    walls.no_network()
    cpu = int(limits["cpu_s"]) + 1
    space = (limits["memory_mb"] + _BASE_MB) * 1024 * 1024
    for what, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (value, value))
    walls.few_calls()
    return walls.standing


class _Walls:
    """What the kernel adds where it lets an ordinary user have it; without it the limits above have to do.

    Attributes:
        standing: of `network namespace` and `system calls`, those that stand.
    """

    def __init__(self) -> None:
        self.standing: list[str] = []
        self._libc: Any = None
        if sys.platform == "linux":
            try:
                import ctypes

                self._libc = ctypes.CDLL(None, use_errno=True)
            except (ImportError, OSError):
                pass  # a Python without it

    def no_network(self) -> None:
        """A network of its own, in which there is nothing, not even the loopback."""
        if self._libc is not None and self._libc.unshare(_NEWUSER | _NEWNET) == 0:
            self.standing.append("network namespace")

    def few_calls(self) -> None:
        """From here on only the system calls that computing and the pipe need; all others fail (seccomp)."""
        arch, allowed = _CALLS.get(os.uname().machine, (0, ()))
        if self._libc is None or not allowed:
            return
        import ctypes
        import struct

        last = len(allowed)
        code = [
            (0x20, 0, 0, 4),
            (0x15, 0, last + 1, arch),
            (0x20, 0, 0, 0),
        ]  # the machine, then the call's number
        code += [(0x15, last - at, 0, number) for at, number in enumerate(allowed)]
        code += [(0x06, 0, 0, _REFUSED), (0x06, 0, 0, _ALLOWED)]
        filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
        program = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(filters)))
        number, control = ctypes.c_ulong, self._libc.prctl
        zero = number(0)
        ready = control(_NO_NEW_PRIVILEGES, number(1), zero, zero, zero) == 0
        if ready and control(_SECCOMP, number(2), program, zero, zero) == 0:
            self.standing.append("system calls")


if __name__ == "__main__":
    main()
