from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from headrace.ledger import liveness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return liveness.folder_of(tmp_path / "a.sqlite")


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {"folder.lock"}


def test_the_folder_lies_beside_the_database(tmp_path: Path, folder: Path) -> None:
    assert folder == tmp_path / "a.sqlite-workers"
    assert liveness.folder_of(tmp_path / "a.sqlite") == folder


def test_alive_until_it_closes(folder: Path) -> None:
    worker = liveness.Worker(folder, "w1")
    with liveness.exclusive(folder):
        assert liveness.is_alive(folder, "w1")
        assert not liveness.is_alive(folder, "never")
    worker.close()
    assert not liveness.is_alive(folder, "w1")
    assert names(folder) == set()


def test_tidy_takes_the_dead_only(folder: Path) -> None:
    worker = liveness.Worker(folder, "w1")
    (folder / "w0.lock").touch()
    with liveness.exclusive(folder):
        liveness.tidy(folder)
    assert names(folder) == {"w1.lock"}
    worker.close()


def live(folder: Path, pipe: Connection) -> None:
    worker = liveness.Worker(folder, "child")
    pipe.send("alive")
    pipe.recv()
    worker.close()


def test_a_killed_process_is_dead(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=live, args=(folder, there))
    process.start()
    assert here.recv() == "alive"
    assert liveness.is_alive(folder, "child")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not liveness.is_alive(folder, "child")
    liveness.tidy(folder)
    assert names(folder) == set()
