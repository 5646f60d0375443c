"""`local:PATH.gguf`: llama.cpp in this process, through xllamacpp (the extra `local`).

The engine speaks Chat Completions, so its chunks go through that wire's decoder like anybody's. One engine a
path, loaded in a thread when it is first asked; each answer runs in a thread of its own, which hands over its
chunks in batches and stops at the next token once the reader has left (while a prompt is being read there is no
token yet, and it stops after that). Options stand behind the path:
`local:model.gguf?ctx=16384&parallel=4&gpu_layers=0&threads=8`. The engine opens a port on this machine that we do
not use; a random key, and no origin allowed, keep others out of it. Next: `presets`.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from headrace import errors, events
from headrace.providers import base, handover, openai_chat

__all__ = ["Local"]

CONTEXT_TOKENS = 8192
PARALLEL = 2
MAX_PENDING = 512
CLOSE_SECONDS = 10.0

QUIET = 0  # the engine's own log: errors reach us as errors


class _Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can stand behind the path.

    Attributes:
        ctx: tokens of context for each answer.
        parallel: answers at the same time; more wait in the engine.
        gpu_layers: layers on the GPU; -1 is all that fit.
        threads: threads that compute; 0 is the engine's choice.
    """

    ctx: int = CONTEXT_TOKENS
    parallel: int = PARALLEL
    gpu_layers: int = -1
    threads: int = 0


class Local:
    """The provider `local`.

    Raises:
        errors.MissingExtra: xllamacpp is not installed.
    """

    name = "local"

    def __init__(self) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise errors.MissingExtra("local", "a model in this process (local:PATH.gguf)") from error
        self._library: Any = xllamacpp
        self._wire = openai_chat.OpenAIChatWire(prefill=True, schemas="grammar")
        self._engines: dict[str, Future[Any]] = {}  # by path?options
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def capabilities(self, model: str) -> base.Capabilities:
        """Schemas bind the sampler, an answer can be begun; pictures are not passed on."""
        return base.Capabilities(
            schema_with_tools=False, schema_flavour="grammar", prefill=True, images=False
        )

    async def models(self) -> list[str]:
        """The paths that are loaded."""
        return [key.rpartition("?")[0] for key, engine in self._engines.items() if engine.done()]

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncGenerator[list[events.Event], None]:
        """Ask the engine. The time it takes to load is not counted against the time-outs.

        Raises:
            errors.ProviderError: `model-not-found` for a path that is not there; else what the engine said.
        """
        engine = await asyncio.wrap_future(self._engine(request.model))
        # Always streamed: not streaming, the engine says a prefill again.
        body = self._wire.request(msgspec.structs.replace(request, stream=True)).body
        limits = handover.Limits(exchange.timeouts, f"the engine of {request.model}")
        decoder = self._wire.decoder(exchange.new_block)
        channel: handover.Handover[bytes] = handover.Handover(MAX_PENDING)
        self._ask(engine, {**body, "model": "local"}, channel)
        try:
            ready: list[events.Event] = []
            while chunks := await limits.within(channel.take()):
                ready += decoder.feed(b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks))
                exchange.usage = decoder.usage
                if ready and request.stream:
                    yield ready
                    ready = []
                decoder.feed(b"")  # raises the error that stood behind those events
            yield ready + decoder.close()
        finally:
            exchange.skipped = decoder.skipped
            channel.leave()

    async def close(self) -> None:
        """Stop what is being generated and give the engines' memory back."""
        with self._lock:
            self._closing.set()
            self._closing = threading.Event()
            engines, self._engines = list(self._engines.values()), {}
            threads = list(self._threads)
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut() -> None:
            for thread in threads:
                thread.join(CLOSE_SECONDS)
            while engines:  # an engine is freed with its last reference, which can take a moment
                engines.pop()
            loop.call_soon_threadsafe(done.set)

        handover.start(shut, "headrace local close")
        await done.wait()

    def _ask(self, engine: Any, body: dict[str, Any], channel: handover.Handover[bytes]) -> None:
        closing, encode = self._closing, msgspec.json.Encoder().encode

        def take(chunk: Any) -> bool:
            return not channel.put(encode(chunk)) or closing.is_set()

        def work() -> None:
            try:
                engine.handle_chat_completions(body, take)
            except (ValueError, RuntimeError, TypeError) as error:
                refusal = errors.ProviderError(f"the engine refused the request: {error}", code="bad-request")
                refusal.__cause__ = error
                channel.end(refusal)
            except BaseException as error:
                channel.end(error)
            else:
                channel.end()
            finally:
                self._threads.discard(threading.current_thread())

        # not a daemon: a thread inside the engine must be out of it before the interpreter goes
        self._threads.add(handover.start(work, "headrace local", daemon=False))

    def _engine(self, model: str) -> Future[Any]:
        """The engine of a model's name, being loaded where nobody has asked for it yet."""
        path, options = _parse(model)
        key = f"{path}?{options}"
        with self._lock:
            found = self._engines.get(key)
            if found is not None:
                return found
            loading: Future[Any] = Future()
            loading.set_running_or_notify_cancel()  # a reader that leaves cannot cancel it for the others
            self._engines[key] = loading

        def load() -> None:
            try:
                loading.set_result(self._library.Server(self._parameters(path, options)))
            except Exception as error:
                with self._lock:
                    self._engines.pop(key, None)
                failure = errors.ProviderError(
                    f"the engine could not load {path}: {error}", code="provider-error", retryable=False
                )
                failure.__cause__ = error
                loading.set_exception(failure)

        handover.start(load, "headrace local load")
        return loading

    def _parameters(self, path: Path, options: _Options) -> Any:
        parameters = self._library.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = options.ctx * options.parallel
        parameters.n_parallel = options.parallel
        parameters.n_gpu_layers = options.gpu_layers
        if options.threads:
            parameters.cpuparams.n_threads = options.threads
            parameters.cpuparams_batch.n_threads = options.threads
        parameters.hostnames = ["127.0.0.1"]
        parameters.api_keys = [secrets.token_hex(16)]
        parameters.cors_origins = "http://127.0.0.1"
        parameters.ui = False
        parameters.offline = True
        parameters.verbosity = QUIET
        return parameters


def _parse(model: str) -> tuple[Path, _Options]:
    """The path and the options of `PATH?key=value&…`.

    Raises:
        errors.ProviderError: `model-not-found`, or `bad-request` for a file that is not GGUF.
        errors.UsageError: an option there is not.
    """
    name, _, query = model.partition("?")
    try:
        options = msgspec.convert(dict(parse_qsl(query, keep_blank_values=True)), _Options, strict=False)
    except msgspec.ValidationError as error:
        raise errors.UsageError(
            f"local:{model}: {error}; there are {', '.join(_Options.__struct_fields__)}"
        ) from error
    path = Path(name).expanduser().resolve()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise errors.ProviderError(
            f"local:{name} cannot be read: {error.strerror}", code="model-not-found"
        ) from error
    if magic != b"GGUF":
        raise errors.ProviderError(f"local:{name} is not a GGUF file", code="model-not-found")
    return path, options
