from __future__ import annotations

import asyncio
import os

import pytest

from headrace.cli import out


async def test_a_full_pipe_does_not_block_the_loop() -> None:
    read, write = os.pipe()
    data = b"x" * 1_000_000
    writing = asyncio.create_task(out.Out(write).write(data))
    await asyncio.sleep(0.01)
    assert not writing.done(), "the loop runs while the pipe is full"
    seen = 0
    while seen < len(data):
        seen += len(await asyncio.to_thread(os.read, read, 65536))
    await writing
    os.close(read)
    os.close(write)


async def test_a_write_that_was_cancelled_is_finished_by_the_next() -> None:
    read, write = os.pipe()
    target = out.Out(write)
    writing = asyncio.create_task(target.write(b"a" * 100_000))
    await asyncio.sleep(0.01)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    rest = asyncio.create_task(target.write(b"b"))
    seen = b""
    while not seen.endswith(b"b"):
        seen += await asyncio.to_thread(os.read, read, 65536)
    await rest
    assert seen == b"a" * 100_000 + b"b"
    os.close(read)
    os.close(write)


async def test_a_pipe_that_nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        await out.Out(write).write(b"x")
    os.close(write)


async def test_a_file(tmp_path: object) -> None:
    fd = os.open(f"{tmp_path}/file", os.O_RDWR | os.O_CREAT)
    await out.Out(fd).write(b"text")
    assert os.pread(fd, 10, 0) == b"text"
    os.close(fd)


def test_styles_are_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    out.note("hello \x1b[1m", "warn")
    assert capsys.readouterr().err == "hello ␛[1m\n"
