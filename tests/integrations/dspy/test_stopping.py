"""A thread that waits for a socket is woken from another one; one that does not wait is left alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from headrace.integrations.dspy.stopping import Stopped, Threads


def ended(threads: Threads, ask: Callable[[], object]) -> tuple[list[BaseException], threading.Thread]:
    """What comes out of a thread that asks, and the thread."""
    found: list[BaseException] = []
    begun = threading.Event()

    def work() -> None:
        try:
            with threads.asking():
                begun.set()
                ask()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(5)
    return found, thread


def test_a_thread_that_waits_for_a_socket_ends_and_its_peer_hears_it() -> None:
    threads = Threads()
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def read(sock: socket.socket) -> None:
            try:
                sock.recv(1)
            except Exception:  # as an HTTP client does, which then asks again
                sock.recv(1)

        found, thread = ended(threads, lambda: read(ours))
        while threads.stop():
            thread.join(0.01)
        thread.join(5)
        assert [type(error) for error in found] == [Stopped]
        assert theirs.recv(1) == b""
    with pytest.raises(Stopped), threads.asking():
        pass


def test_a_failure_after_a_stop_is_the_stop() -> None:
    threads = Threads()
    gate = threading.Event()

    def ask() -> None:
        gate.wait(5)
        raise ConnectionError("gone")

    found, thread = ended(threads, ask)
    assert threads.stop()
    gate.set()
    thread.join(5)
    assert [type(error) for error in found] == [Stopped]


def test_an_error_without_a_stop_is_itself() -> None:
    threads = Threads()
    with pytest.raises(ConnectionError), threads.asking():
        raise ConnectionError
    assert not threads.stop()
