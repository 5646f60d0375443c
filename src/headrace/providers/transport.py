"""The one HTTP shell of all providers: a `base.Wire` on aiohttp, raw bytes in, lists of events out.

    provider.stream(request, exchange)  ->  [event, …], [event, …], …, [… ModelEnd]

What a token costs here is a read and a `feed`: no task of its own, no time-out around a step. One timer a
stream (`_Watchdog`) looks now and then at the time of the last read and closes the socket when a limit has
passed; the pending read then fails, and the failure is told as `provider-timeout`. Whoever stops iterating
closes the socket at once (`abort`, so that no TLS farewell delays it), unless the answer was complete: then
the connection goes back to the pool, as soon as the end of the body is there.

Every failure of the HTTP library is turned into a typed error in one place (`_translate`). Keys never get
into messages: values of credential headers are blotted out of whatever a server sends back. Nothing in here
knows a wire format. Next: one file a wire, `openai_chat` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import aiohttp
import msgspec
import yarl

from headrace import errors, events
from headrace.protocol import retry
from headrace.providers import base, loose_json

READ_BUFFER_BYTES = 256 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
# How long a finished answer may take to end its body before its connection is given up.
SETTLE_SECONDS = 0.005

_SECRET_HEADERS = ("authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization")
# Bodies that are read piece by piece. JSON on a streamed call is one whole answer (or an error) instead;
# anything else (a page of a proxy, most often) is refused.
_STREAMED = frozenset(
    ("", "text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl",
     "application/x-json-stream", "text/plain", "application/octet-stream")
)  # fmt: skip


class HttpProvider:
    """A provider that speaks a `base.Wire` over HTTP; implements `base.Provider`.

    Args:
        name: the provider's name, as error messages and `attempt-start` show it.
        wire: the wire format.
        base_url: what the wire's paths are added to; a query it has is kept on every request.
        headers: sent with every request; the place of the key.
        capabilities: what the models can do: one answer for all, or a function of the model's name.
        models_path: where `models` asks, added to the base URL; None where the provider has no list.
    """

    def __init__(
        self,
        name: str,
        wire: base.Wire,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        capabilities: base.Capabilities | Callable[[str], base.Capabilities] | None = None,
        models_path: str | None = "/models",
    ) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise errors.UsageError(f"{name}: the base URL {base_url!r} must begin with http:// or https://")
        self.name = name
        self.wire = wire
        self.base_url = base_url
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "headrace", **(headers or {})}
        self._capabilities = capabilities or base.Capabilities()
        self._models_path = models_path
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}
        self._secrets = _secrets(self._headers, base_url)

    def capabilities(self, model: str) -> base.Capabilities:
        """What `model` can do, as configured."""
        known = self._capabilities
        return known if isinstance(known, base.Capabilities) else known(model)

    async def stream(
        self, request: base.ModelRequest, exchange: base.Exchange
    ) -> AsyncIterator[list[events.Event]]:
        """Ask the model; see `base.Provider.stream`.

        `exchange.usage` and `exchange.skipped` are filled in before the batch with `ModelEnd` is yielded,
        and in any case when the iterator ends or is closed.

        Raises:
            errors.ProviderError: every failure of the far side, typed.
            errors.UsageError: the request cannot be expressed on this wire.
        """
        call = _Call(self, exchange.timeouts)
        decoder = self.wire.decoder(exchange.new_block)
        try:
            response = await call.open(self.wire.request(request))
            if not request.stream or response.content_type == "application/json":
                batch = decoder.whole(await call.body(MAX_ANSWER_BYTES))
                call.complete = True
                exchange.usage, exchange.skipped = decoder.usage, decoder.skipped
                yield batch
                return
            read, feed, watchdog, now = response.content.readany, decoder.feed, call.watchdog, call.loop.time
            while True:
                watchdog.since = now()
                bite = await read()
                watchdog.since, watchdog.begun = None, True
                if not bite:
                    batch = decoder.close()
                    call.complete = True
                else:
                    batch = feed(bite)
                if batch:
                    if type(batch[-1]) is base.ModelEnd:
                        call.complete = True
                        exchange.usage, exchange.skipped = decoder.usage, decoder.skipped
                    yield batch
                if call.complete:
                    return
                feed(b"")  # raises what the decoder met after the events it has just returned
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            raise call.translate(error) from error
        except errors.ProviderError as error:
            raise self._told(error) from error.__cause__
        finally:
            exchange.usage, exchange.skipped = decoder.usage, decoder.skipped
            await call.finish()

    async def models(self) -> list[str]:
        """Names of the models the provider lists, sorted; empty where it has no list.

        Raises:
            errors.ProviderError: as `stream`.
        """
        if self._models_path is None:
            return []
        call = _Call(self, base.Timeouts(first_chunk=20.0, stall=20.0, total=30.0))
        try:
            await call.open(base.HttpRequest(self._models_path, None))
            body = await call.body(MAX_ANSWER_BYTES)
            call.complete = True
            return _model_names(body)
        except (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError) as error:
            raise call.translate(error) from error
        except errors.ProviderError as error:
            raise self._told(error) from error.__cause__
        finally:
            await call.finish()

    async def close(self) -> None:
        """Close the connections of the running event loop; streams on them break off."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    def session(self) -> aiohttp.ClientSession:
        """The running event loop's session, made on first use."""
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            for gone in [other for other in self._sessions if other.is_closed()]:
                self._sessions.pop(gone).detach()
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30.0),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                read_bufsize=READ_BUFFER_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                trace_configs=[_reuse_tracing()],
                trust_env=False,
            )
        return session

    def url(self, path: str) -> yarl.URL:
        """Where a request goes: the base URL with `path` added, both queries kept."""
        root, more = urlsplit(self.base_url), urlsplit(path)
        query = "&".join(part for part in (root.query, more.query) if part)
        joined = root.path.rstrip("/") + "/" + more.path.lstrip("/")
        return yarl.URL(urlunsplit((root.scheme, root.netloc, joined, query, "")), encoded=True)

    @property
    def place(self) -> str:
        """Scheme and host, for error messages."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def _told(self, error: errors.ProviderError) -> errors.ProviderError:
        """Name the provider in the message, and blot out the keys."""
        message = self._blot(error.message)
        if not message.startswith(f"{self.name}: "):
            message = f"{self.name}: {message}"
        error.message, error.args = message, (message,)
        error.details = self._blot(error.details)
        return error

    def _blot(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "[key]")
            return value
        if isinstance(value, dict):
            return {key: self._blot(item) for key, item in value.items()}
        return [self._blot(item) for item in value] if isinstance(value, list) else value


class _Watchdog:
    """One timer for the three limits of a stream: first chunk, stall, total.

    The reader says in `since` when it began to wait for bytes (None while it does not wait: a slow consumer
    is not a stalled provider) and sets `begun` with the first of them. The timer is armed for the soonest
    moment a limit could pass; when it fires too early, because bytes came in between, it is armed again.
    """

    __slots__ = ("_expire", "_handle", "_limits", "_loop", "_start", "begun", "phase", "since")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: base.Timeouts) -> None:
        self._loop = loop
        self._limits = limits
        self._start = loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self._expire: Callable[[], None] | None = None
        self.since: float | None = None
        self.begun = False
        self.phase = ""

    def due(self) -> tuple[float | None, str]:
        """When the next limit passes as things stand, and which; None when there is no limit."""
        limits, when = self._limits, []
        if limits.total is not None:
            when.append((self._start + limits.total, "total"))
        if not self.begun:
            if limits.first_chunk is not None:
                when.append((self._start + limits.first_chunk, "first-chunk"))
        elif limits.stall is not None and self.since is not None:
            when.append((self.since + limits.stall, "stall"))
        return min(when) if when else (None, "")

    def seconds(self, phase: str) -> float | None:
        """The limit of a phase."""
        limit: float | None = getattr(self._limits, phase.replace("-", "_"))
        return limit

    def start(self, expire: Callable[[], None]) -> None:
        """Begin to watch; `expire` is called once, when a limit has passed."""
        self._expire = expire
        self._look()

    def stop(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._expire = None

    def _look(self) -> None:
        if self._expire is None:
            return
        now = self._loop.time()
        due, phase = self.due()
        if due is not None and due <= now:
            self.phase = phase
            self._expire()
            return
        later = [now + self._limits.stall] if self._limits.stall is not None else []
        if due is not None:
            later.append(due)
        if later:
            self._handle = self._loop.call_at(min(later), self._look)


class _Call:
    """One HTTP exchange: opens the response, reads small bodies, ends the connection one way or the other."""

    def __init__(self, provider: HttpProvider, timeouts: base.Timeouts) -> None:
        self.loop = asyncio.get_running_loop()
        self.watchdog = _Watchdog(self.loop, timeouts)
        self.complete = False
        self.reused = False  # the request went out on a connection from the pool
        self._provider = provider
        self._timeouts = timeouts
        self._response: aiohttp.ClientResponse | None = None

    async def open(self, request: base.HttpRequest) -> aiohttp.ClientResponse:
        """Send the request and take the head of the answer.

        Raises:
            errors.ProviderError: a time-out, a status that is not 2xx, or a body of the wrong kind.
        """
        provider = self._provider
        body, headers = None, dict(request.headers)
        if request.body is not None:
            body = msgspec.json.encode(request.body)
            headers["Content-Type"] = "application/json"
        due, phase = self.watchdog.due()
        try:
            async with asyncio.timeout_at(due):
                while self._response is None:
                    self.reused = False
                    try:
                        self._response = await self._request(request.path, body, headers)
                    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                        # The server had closed this connection of the pool meanwhile, and nothing was
                        # answered on it: the next one, or a fresh one, may do.
                        if not self.reused:
                            raise
            response = self._response
        except aiohttp.ServerTimeoutError as error:
            self.watchdog.phase = "connect"
            raise self.translate(error) from error
        except TimeoutError as error:
            self.watchdog.phase = phase
            raise self.translate(error) from error
        self.watchdog.start(self.abort)
        if not 200 <= response.status < 300:
            raise await self._status_error(response)
        kind = response.content_type if "Content-Type" in response.headers else ""
        if kind not in _STREAMED and kind != "application/json":
            start = (await self.body(MAX_ERROR_BYTES, cut=True))[:200].decode("utf-8", "replace")
            raise errors.ProviderError(
                f"{provider.place} answered with {kind} instead of a model's answer; "
                f"check the base URL. It begins: {start!r}",
                code="provider-protocol",
                provider_status=response.status,
                details={"content_type": kind, "start": start},
            )
        return response

    async def _request(
        self, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        provider = self._provider
        return await provider.session().request(
            "GET" if body is None else "POST",
            provider.url(path),
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(connect=self._timeouts.connect),
            trace_request_ctx=self,
        )

    async def body(self, bound: int, *, cut: bool = False) -> bytes:
        """The whole body, of at most `bound` bytes: more of them are cut off or refused."""
        assert self._response is not None
        parts: list[bytes] = []
        size, watchdog, read = 0, self.watchdog, self._response.content.readany
        while True:
            watchdog.since = self.loop.time()
            bite = await read()
            watchdog.since, watchdog.begun = None, True
            if not bite:
                return b"".join(parts)
            parts.append(bite)
            size += len(bite)
            if size > bound:
                if cut:
                    return b"".join(parts)[:bound]
                raise errors.ProviderError(
                    f"the answer is larger than {bound:,} bytes",
                    code="provider-protocol",
                    retryable=False,
                    details={"max_answer_bytes": bound},
                )

    async def _status_error(self, response: aiohttp.ClientResponse) -> errors.ProviderError:
        status = response.status
        body = await self.body(MAX_ERROR_BYTES, cut=True)
        error = self._provider.wire.error(status, body)
        if error is None:
            if 300 <= status < 400:
                text = f"redirects to {response.headers.get('Location', '')!r}; set the base URL to its end"
            else:
                text = body[:200].decode("utf-8", "replace").strip() or (response.reason or "no reason given")
            error = base.status_error(status, f"{self._provider.place} answered {status}: {text}")
        error.provider_status = status
        if error.retry_after is None:
            error.retry_after = _retry_after(response.headers)
        if error.retry_after is not None:
            error.details.setdefault("retry_after", error.retry_after)
        return error

    def abort(self) -> None:
        """Close the socket now; a pending read fails."""
        response = self._response
        if response is None:
            return
        connection = response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        response.close()

    async def finish(self) -> None:
        """End the exchange: keep the connection when the answer was complete, else close the socket."""
        self.watchdog.stop()
        response = self._response
        if response is None or response.content.is_eof():
            return
        try:
            if self.complete:
                async with asyncio.timeout(SETTLE_SECONDS):
                    while await response.content.readany():
                        pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass  # the answer is complete; only its connection is lost
        finally:
            if not response.content.is_eof():
                self.abort()

    def translate(self, error: Exception) -> errors.ProviderError:
        """The typed error of a failure of the HTTP library: the one table of them."""
        told = _translate(error, self.watchdog, self._provider.place, self._response is not None)
        return self._provider._told(told)


def _reuse_tracing() -> aiohttp.TraceConfig:
    """Have each call told when it gets a connection from the pool."""

    async def reused(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
        context.trace_request_ctx.reused = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    return tracing


def _translate(error: Exception, watchdog: _Watchdog, place: str, answering: bool) -> errors.ProviderError:
    if watchdog.phase:
        seconds = watchdog.seconds(watchdog.phase)
        return errors.ProviderError(
            f"{place} passed the limit of {seconds:g} s for {_PHASES[watchdog.phase]}",
            code="provider-timeout",
            details={"phase": watchdog.phase, "seconds": seconds},
        )
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return errors.ProviderError(
                f"no safe connection to {place} ({reason})", code="provider-unreachable", retryable=False
            )
        case aiohttp.InvalidURL():
            return errors.ProviderError(
                f"{place} is not a usable URL ({reason})", code="provider-unreachable", retryable=False
            )
        case aiohttp.http.HttpProcessingError() | aiohttp.ClientResponseError() if not answering:
            return errors.ProviderError(
                f"{place} does not speak HTTP as it should ({reason})", code="provider-protocol"
            )
        case _ if answering:
            return errors.ProviderError(
                f"{place} broke off in the middle of the answer ({reason})", code="stream-incomplete"
            )
        case _:
            return errors.ProviderError(f"{place} cannot be reached ({reason})", code="provider-unreachable")


_PHASES = {
    "connect": "making a connection",
    "first-chunk": "the first bytes of an answer",
    "stall": "going on with an answer",
    "total": "a whole answer",
}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks us to wait; `retry-after-ms` is the finer form some send as well."""
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        return retry.parse_retry_after(headers.get("Retry-After"), datetime.now(UTC))


def _secrets(headers: Mapping[str, str], base_url: str) -> list[str]:
    """What must not get into a message: keys in headers, in the base URL's query and before its host."""
    parts = urlsplit(base_url)
    values = [value for name, value in headers.items() if name.lower() in _SECRET_HEADERS]
    values += [value for name, value in parse_qsl(parts.query) if "key" in name.lower() or "token" in name]
    values += [parts.password or ""]
    words = {word for value in values for word in (value, value.rpartition(" ")[2]) if len(word) >= 6}
    return sorted(words, key=len, reverse=True)


def _model_names(body: bytes) -> list[str]:
    """Names from `{"data": [{"id"}]}` or `{"models": [{"name"}]}`."""
    try:
        raw = msgspec.json.decode(body)
    except loose_json.NOT_JSON as error:
        raise errors.ProviderError(
            f"the list of models is not JSON: {error}", code="provider-protocol"
        ) from error
    rows = (raw.get("data") or raw.get("models") or []) if isinstance(raw, dict) else raw
    names = set()
    for row in rows if isinstance(rows, list) else ():
        name = (row.get("id") or row.get("name") or row.get("model")) if isinstance(row, dict) else row
        if isinstance(name, str) and name:
            names.add(name.removeprefix("models/"))
    return sorted(names)
