"""Attacks on the interpreter's walls, and that it starts, speaks and dies as it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import errors
from headrace.procedures import sandbox
from headrace.procedures.sandbox import Asked, Limits, Sandbox


async def run(program: str, *, cpu: float = 1, wall: float = 20, memory: int = 64) -> Any:
    """What a program returns; questions to the host get an empty answer."""
    limits = Limits(cpu_s=cpu, wall_s=wall, memory_mb=memory)
    async with Sandbox(program, "evil.tac", limits, {"seed": 1}) as sandbox:
        while True:
            asked: Asked = await sandbox.next()
            if asked.kind == "done":
                return asked.given.get("value")
            if asked.kind == "failed":
                raise errors.UsageError(asked.given["message"], code="procedure-error")
            await sandbox.answer({"value": asked.given.get("value")})


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("local n = 0\nwhile true do n = n + 1 end", "evil.tac:2: the program used more than 1 s of CPU"),
        ("while true do pcall(function() while true do end end) end", "1 s of CPU"),
        ("coroutine.wrap(function() while true do end end)()", "1 s of CPU"),
        ("local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) return t[1]", "overflow"),
        ("local function f() return f() + 1 end f()", "memory|overflow"),
        ('return ("x"):rep(1e10)', "too large|memory"),
        ('local s = "x" while true do s = s .. s end', "memory|too large"),
        ("local t = {} while true do t[#t + 1] = {} end", "memory"),
        ('return ("a"):rep(100000):find((".-"):rep(20) .. "b")', "1 s of CPU"),
        ("return string.format('%99999d', 1)", "invalid"),
        ("local co\nco = coroutine.create(function() coroutine.resume(co) error('x') end)"
         "\nfor i = 1, 1e9 do co = coroutine.create(coroutine.resume) end", "CPU|memory"),
    ],
)  # fmt: skip
async def test_what_runs_away_is_stopped(program: str, words: str) -> None:
    with pytest.raises(errors.UsageError, match=words):
        await run(program)


@pytest.mark.parametrize(
    "name",
    ["load", "loadstring", "loadfile", "dofile", "io", "os", "debug", "package", "python", "collectgarbage"],
)
async def test_what_reaches_out_is_not_there(name: str) -> None:
    with pytest.raises(errors.UsageError, match=f"there is no {name}"):
        await run(f"return {name}")
    assert await run(f"return rawget(_G, '{name}') == nil") is True


@pytest.mark.parametrize(
    "program",
    [
        "return string.dump",
        "return getmetatable(_G) ~= 'locked'",
        "return getmetatable('') ~= 'locked'",
        "return getmetatable(Log) or false",
        "return getmetatable(input) ~= 'locked'",
        "return getmetatable(Retry) ~= 'locked'",
        "return type(getmetatable(Agent {})) == 'table'",
        "return pcall(setmetatable, _G, {}) == true",
        "return math.randomseed",
        "return coroutine.close(coroutine.create(print)) ~= true",
    ],
)
async def test_the_inside_is_locked(program: str) -> None:
    assert not await run(program)


@pytest.mark.parametrize(
    "program",
    [
        # every way to have the bridge fail: what comes back must be words, never an object of Python's
        'local _, e = pcall(Log.info, "\\xff") return e',
        'local _, e = pcall(Json.decode, "\\xff") return e',
        "local _, e = pcall(Json.encode, {[{}] = 1}) return e",
        "local _, e = pcall(Json.encode, print) return e",
        "local t = {} t.t = t local _, e = pcall(Json.encode, t) return e",
        "local _, e = pcall(Json.encode, coroutine.create(print)) return e",
        'local _, e = pcall(Json.decode, ("["):rep(100000)) return e',
        "local _, e = pcall(Json.encode, 0/0) return e",
        'local t = {} for i = 1, 100 do t = {t} end local _, e = pcall(Log.info, "x", t) return e',
    ],
)
async def test_failures_of_the_bridge_are_words(program: str) -> None:
    said = await run(program)
    assert isinstance(said, str)
    assert said.startswith("evil.tac:1: ")


async def test_a_program_that_breaks_its_library_breaks_only_itself() -> None:
    program = """
    string.format, string.gsub, string.match, table.concat, table.sort = nil, nil, nil, nil, nil
    pairs, type, pcall, error, tostring = nil, nil, nil, nil, nil
    Log.info("still", {a = 1})
    w = Agent { system_prompt = "{state.x}" }
    return Json.encode({b = 1})
    """
    assert await run(program) == '{"b": 1}'


async def test_pairs_go_in_order_so_that_a_replay_can() -> None:
    program = (
        "local s = '' for k in pairs({z = 1, a = 1, m = 1, [2] = 1, [1] = 1}) do s = s .. k end return s"
    )
    assert await run(program) == "12amz"


async def test_random_numbers_are_the_same_for_the_same_seed() -> None:
    assert await run("return math.random(1e9)") == await run("return math.random(1e9)")


async def test_the_child_has_no_environment_no_files_and_no_more_processes() -> None:
    limits = Limits(cpu_s=2, wall_s=20, memory_mb=64)
    async with Sandbox("Log.info('x')", "t.tac", limits, {"seed": 1}) as sandbox:
        await sandbox.next()
        assert sandbox._process is not None
        pid = sandbox._process.pid
        if not os.path.isdir(f"/proc/{pid}"):
            pytest.skip("no /proc here")
        assert Path(f"/proc/{pid}/environ").read_bytes().replace(b"\0", b"") == b""
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        shown = {line[:26].strip(): line[26:].split()[:2] for line in lines}
        assert shown["Max open files"] == ["0", "0"]
        assert shown["Max file size"] == ["0", "0"]
        assert shown["Max processes"] == ["0", "0"]
        assert shown["Max cpu time"] == ["3", "3"]
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    assert not os.path.isdir(f"/proc/{pid}")


WALLS = """
import importlib.util, json, os, socket, subprocess, sys
spec = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
libc = __import__("ctypes").CDLL(None, use_errno=True)
standing = child._shut({"cpu_s": 5, "memory_mb": 256})
def tried(act):
    try:
        return f"went through: {act()}"
    except OSError as error:
        return type(error).__name__
acts = {
    "socket": lambda: socket.socket(), "fork": os.fork, "exec": lambda: os.execv("/bin/true", ["true"]),
    "open": lambda: open("/etc/passwd"), "kill": lambda: os.kill(os.getppid(), 0), "pipe": os.pipe,
    "unlink": lambda: os.unlink("/tmp/none"), "list": lambda: os.listdir("/"),
}
print(json.dumps([standing, {name: tried(act) for name, act in acts.items()}]))
"""


def test_what_the_kernel_refuses_once_the_doors_are_shut() -> None:
    assert set(sandbox.walls()) <= {"network namespace", "system calls"}
    told = subprocess.run(
        [sys.executable, "-c", WALLS, str(sandbox._CHILD)], capture_output=True, timeout=20, check=True
    )
    standing, refused = json.loads(told.stdout)
    if "system calls" not in standing:
        pytest.skip("this kernel, or this machine's kind, has no filter of system calls for us")
    assert set(refused.values()) == {"PermissionError"}, refused


async def test_silence_is_bounded_by_the_wall_clock() -> None:
    with pytest.raises(errors.UsageError, match=r"more than 0.2 s without asking"):
        await run("while true do end", cpu=30, wall=0.2)


async def test_starting_takes_milliseconds(record_property: Any) -> None:
    began = time.perf_counter()
    assert await run("return 1") == 1
    record_property("start_ms", round((time.perf_counter() - began) * 1000, 1))


async def test_a_host_that_goes_away_takes_the_child_along() -> None:
    sandbox = Sandbox("Log.info('x')", "t.tac", Limits(), {"seed": 1})
    await sandbox.__aenter__()
    await sandbox.next()
    process = sandbox._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert await process.wait() == 0
    await sandbox.__aexit__(None, None, None)
