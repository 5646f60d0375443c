"""A real inference engine for tests: llama.cpp with a model of 10 MB that needs no download.

    with Engine(parallel=4) as engine:
        requests.post(f"{engine.base_url}/chat/completions", json={...})

It streams `/v1/chat/completions`, `/v1/responses` and `/v1/messages` with real usage, tool calls,
reasoning and constrained output, stops when the client closes its socket, and proves it: `slots`,
`busy`, `wait_idle`, `tokens_predicted`. It is faster than any network model (thousands of tokens a
second): put a `relay.Relay` in front where a test needs time.

The engine runs in a child process (by hand: `python -m headrace.testing.engine`) and never outlives its
parent: the child holds the reading end of a pipe and ends when the pipe does, however the parent died.

Here: process, port and the engine's own counters. Not here: wires and decoding. Next: `bigram`, `relay`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any, NoReturn, Self

from headrace import errors
from headrace.testing import bigram

__all__ = ["MODEL_NAME", "Engine", "default_cache", "main"]

MODEL_NAME = "tiny"
"""The one model name the engine lists; it answers to any."""

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.005


def default_cache() -> Path:
    """Where the model file is kept: `.cache` of the checkout we run from, else `~/.cache/headrace`."""
    root = Path(__file__).resolve().parents[3]
    if (root / "pyproject.toml").is_file():
        return root / ".cache"
    return Path.home() / ".cache" / "headrace"


class Engine:
    """One engine in a child process; a context manager, or `start()` and `stop()`.

    Args:
        parallel: answers generated at the same time (slots); further requests wait in the engine's queue.
        port: to listen on, on 127.0.0.1; 0 takes a free one.
        model: a GGUF file; default is the bigram model, written to `cache` when it is not there yet.
        cache: folder for the model file; default `default_cache()`.
        api_key: when given, requests without this bearer key get 401.
        start_timeout: seconds until `/health` must answer.
    """

    def __init__(
        self,
        *,
        parallel: int = 4,
        port: int = 0,
        model: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self.parallel = parallel
        self.port = port
        self._model = Path(model) if model is not None else None
        self._cache = Path(cache) if cache is not None else default_cache()
        self._api_key = api_key
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """`url` with `/v1`: what OpenAI clients call the base URL."""
        return f"{self.url}/v1"

    @property
    def pid(self) -> int:
        """The child's process id.

        Raises:
            UsageError: the engine is not running.
        """
        return self._running().pid

    def start(self) -> Self:
        """Start the child and wait until `/health` answers.

        Raises:
            UsageError: it is running already, it did not come up (the message has the end of its log), or
                (code `missing-extra`) something is not installed.
        """
        if self._process is not None:
            raise errors.UsageError(f"the engine is running already on {self.url}")
        require()
        model = self._model or bigram.cached(self._cache)
        # The child finds this package where we found it, whatever put it there.
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from headrace.testing import engine; engine.main()"
        )
        command = [sys.executable, "-c", program, "--until-stdin-closes", "--model", str(model)]
        command += ["--port", str(self.port), "--parallel", str(self.parallel)]
        if self._api_key is not None:
            command += ["--api-key", self._api_key]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the child and wait for it; nothing happens when there is none. Live streams are cut."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        log, self._log = self._log, None
        if log is not None:
            log.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def slots(self) -> list[dict[str, Any]]:
        """The engine's slots as `/slots` tells them: `id`, `is_processing`, token counts."""
        found: list[dict[str, Any]] = json.loads(self._get("/slots"))
        return found

    def busy(self) -> int:
        """How many slots are generating now."""
        return sum(bool(slot["is_processing"]) for slot in self.slots())

    def wait_idle(self, timeout: float = 5.0) -> float:
        """Wait until no slot is generating; return the seconds it took (to within 5 ms and a request).

        It blocks: in a coroutine, `await asyncio.to_thread(engine.wait_idle)`.

        Raises:
            TimeoutError: a slot is still generating after `timeout` seconds.
        """
        return self._wait(lambda busy: busy == 0, timeout, "no slot generates")

    def wait_busy(self, slots: int = 1, timeout: float = 5.0) -> float:
        """Wait until at least `slots` slots are generating; return the seconds it took. It blocks.

        Raises:
            TimeoutError: it did not happen within `timeout` seconds.
        """
        return self._wait(lambda busy: busy >= slots, timeout, f"{slots} slots generate")

    def tokens_predicted(self) -> int:
        """Tokens of the answers that have ended (finished or cut) since the start, from `/metrics`."""
        name = "llamacpp:tokens_predicted_total "
        for line in self._get("/metrics").decode().splitlines():
            if line.startswith(name):
                return int(float(line.removeprefix(name)))
        raise errors.UsageError(
            f"/metrics of {self.url} has no {name.strip()}: another version of the engine?"
        )

    def log(self) -> str:
        """What the engine wrote to its log (warnings and errors), at most the last 10,000 characters."""
        if self._log is None:
            return ""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 10_000))
        return self._log.read().decode(errors="replace")

    # -- inside -------------------------------------------------------------------------------------------

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise errors.UsageError("the engine is not running: use it as a context manager or call start()")
        return self._process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._start_timeout
        # A child that hangs is killed, and the line we wait for ends: no wait here is without end.
        killer = threading.Timer(self._start_timeout, process.kill)
        killer.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
        finally:
            killer.cancel()
        if not line.startswith("http://"):
            raise errors.UsageError(f"the engine did not start: {self.log() or 'it wrote nothing'}")
        self.port = int(line.rsplit(":", 1)[1])
        while not self._healthy():
            if process.poll() is not None or time.monotonic() > deadline:
                raise errors.UsageError(f"the engine on {self.url} is not healthy: {self.log()}")
            time.sleep(_POLL_SECONDS)

    def _healthy(self) -> bool:
        try:
            self._get("/health")
        except (OSError, errors.UsageError):
            return False
        return True

    def _get(self, path: str) -> bytes:
        """GET without a proxy and without the environment."""
        self._running()
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key is not None else {}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise errors.UsageError(f"GET {self.url}{path} gave {response.status}: {body[:500]!r}")
        return body

    def _wait(self, reached: Callable[[int], bool], timeout: float, what: str) -> float:
        began = time.monotonic()
        while not reached(busy := self.busy()):
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"waited {timeout} s until {what}; {busy} of {self.parallel} do")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began


def require() -> None:
    """Check that the engine can run here.

    Raises:
        MissingExtra: the extra `local` is not installed.
    """
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        raise errors.MissingExtra("local", "the test engine") from error


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve in this process until SIGTERM, Ctrl-C or the end of the standard input; print the URL first."""
    parser = argparse.ArgumentParser(prog="python -m headrace.testing.engine", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--parallel", type=int, default=4, help="slots; default 4")
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the bigram model, from the cache")
    parser.add_argument("--api-key", help="refuse requests without this bearer key")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when our parent does")
    options = parser.parse_args(arguments)
    require()

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        os._exit(0)  # the engine's own threads may be in the middle of an answer

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    server = _serve(options.model or bigram.cached(default_cache()), options)
    print(server.listening_address, flush=True)
    if options.until_stdin_closes:
        sys.stdin.buffer.read()
        os._exit(0)
    while True:  # Ctrl-C and SIGTERM end it; a sleep wakes for them on every system
        time.sleep(3600)


def _serve(model: Path, options: argparse.Namespace) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {MODEL_NAME}
    params.hostnames = [_HOST]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = bigram.CONTEXT_TOKENS * options.parallel
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.ui = False
    params.offline = True
    params.verbosity = 2  # warnings and errors
    params.cache_ram_mib = 0  # no copies of old prompts
    # One thread computes (a table look-up has nothing to share out); each open stream holds one HTTP thread.
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 2 * options.parallel + 4
    if options.api_key is not None:
        params.api_keys = [options.api_key]
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
