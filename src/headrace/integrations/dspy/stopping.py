"""Ends what a thread asks a provider, from another thread: a provider that stalls must not keep a stopped run.

A thread that waits for a socket hears nothing. So the socket it waits for is shut down, which wakes it, and `Stopped`
is raised where it woke, so that nobody above (an HTTP client, LiteLLM, DSPy: all ask again after a broken
connection) takes it for a failure. Only a thread that is inside `asking` is touched, and only while it is seen
waiting in the socket's own read; one that works comes to its next token, which raises. The HTTP clients below have no
common way to their sockets, so it is found as a debugger does, in the locals of the thread's innermost frames.
Next: `call`.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_DEEP = 4  # frames from the innermost one: the read of a TLS socket is three of them


class Stopped(BaseException):
    """Raised in a call that was stopped from outside. Not an `Exception`: a program that catches those, or DSPy's
    retries, must not go on."""


class Threads:
    """The threads of one call that are asking a provider."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: set[int] = set()
        self._stopped = False

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While a provider is asked, on this thread.

        Raises:
            Stopped: the call is stopped; also from within.
        """
        me = threading.get_ident()
        with self._lock:
            if self._stopped:
                raise Stopped
            self._asking.add(me)
        try:
            yield
        except Exception:
            if self._stopped:  # it woke by itself, from a socket that was shut down
                raise Stopped from None
            raise
        finally:
            with self._lock:
                self._asking.discard(me)

    def stop(self) -> bool:
        """Wake those that wait for a provider. From another thread; again until nobody is asking.

        Returns:
            whether anybody was.
        """
        with self._lock:
            self._stopped = True
            frames = sys._current_frames()
            for thread in list(self._asking):
                waiting = _socket(frames.get(thread))
                if waiting is not None:
                    self._asking.discard(thread)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(thread), ctypes.py_object(Stopped)
                    )
                    with contextlib.suppress(OSError):  # it has just ended by itself
                        waiting.shutdown(socket.SHUT_RDWR)
            return bool(self._asking)


def _socket(frame: FrameType | None) -> socket.socket | None:
    """The socket that a thread waits for: the nearest one in its innermost frames."""
    for _ in range(_DEEP):
        if frame is None:
            return None
        for value in frame.f_locals.values():
            for found in (value, getattr(value, "sock", None), getattr(value, "_sock", None)):
                if isinstance(found, socket.socket):
                    return found
        frame = frame.f_back
    return None
