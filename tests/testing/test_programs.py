"""Real servers as child processes: up, killed, up again with what they had; and one that does not come up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis as driver

from headrace import errors
from headrace.testing.programs import Program, find
from headrace.testing.redis import Redis


def test_killed_and_up_again_with_what_it_had(redis: Redis) -> None:
    with driver.Redis.from_url(redis.url) as client:
        client.set("a", "b")
        redis.kill()
        redis.kill()
        assert redis.pid == 0
        redis.start()
        redis.start()
        assert client.get("a") == b"b"


def test_its_folder_goes_with_it() -> None:
    if find("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    with Redis() as server:
        assert server.folder.is_dir()
    assert not server.folder.exists()


def test_one_that_does_not_come_up_says_why() -> None:
    class Broken(Program):
        name = "broken"

        def command(self) -> tuple[list[str], dict[str, str]]:
            return ["/bin/sh", "-c", "echo no such luck >&2; exit 3"], {}

        def answers(self) -> bool:
            return False

    broken = Broken()
    with pytest.raises(errors.RunError, match="no such luck"):
        broken.start()
    broken.close()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_does_not_outlive_a_process_that_is_killed() -> None:
    if find("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    program = (
        "import time\nfrom headrace.testing.redis import Redis\n"
        "server = Redis().start()\nprint(server.port, server.folder, flush=True)\ntime.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        port, folder = child.stdout.readline().split()
        assert listening(int(port))
        child.kill()
    until = time.monotonic() + 10
    while listening(int(port)):
        assert time.monotonic() < until
        time.sleep(0.01)
    shutil.rmtree(folder)
