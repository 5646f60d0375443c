"""The client of a Headrace server, on aiohttp: `Client`.

    async with headrace.Client() as client:
        run = await client.start("demo", "Tell me a story")
        async for token in client.text(run):
            print(token, end="", flush=True)

A run does not end because this program lost its line: `follow` comes back with the cursor it has and hands on
each event exactly once. Leaving the iteration only stops reading; `cancel` stops the run. Errors are those of
`headrace.errors`, with the code that the server sent. Next: `sync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import msgspec

from headrace import errors, events, ids, messages
from headrace.client import following
from headrace.protocol import cursor, retry
from headrace.runs import handle
from headrace.runs.spec import Result, RunInfo

if TYPE_CHECKING:
    from headrace.runs.growing import Field, Growing

CONNECT_S = 10.0
SILENCE_S = 40.0  # the server's heartbeat comes every 15 s
_SENDS = 3
_MAX_ERROR = 64 * 1024


class Client:
    """A connection to one server. Make it where the event loop runs; close it, or use it in `async with`.

    Args:
        url: of the server; default: the setting `HEADRACE_URL`, else `http://127.0.0.1:8642`.
        api_key: one of the server's keys; default: none is sent.
        patience: how lost lines are taken up again.
        silence: seconds without a byte, heartbeats included, after which a line counts as lost.

    Raises:
        errors.UsageError: the setting is not a URL.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: following.Patience | None = None,
        silence: float = SILENCE_S,
    ) -> None:
        if url is None:
            from headrace import settings

            url = settings.load().url
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._patience = patience or following.Patience()
        self._silence = silence
        self._session: aiohttp.ClientSession | None = None

    # runs

    async def start(
        self,
        model: str | None = None,
        prompt: str | Sequence[Mapping[str, Any] | messages.Message] | None = None,
        *,
        output: Any = None,
        idempotency_key: str | None = None,
        **body: Any,
    ) -> str:
        """Start a run.

        Args:
            model: default: the server's.
            prompt: a text, or messages.
            output: the type, or the JSON Schema, that the answer has to have; its schema is sent as `output_schema`.
            idempotency_key: the same key gives the same run; default: a new one, so that a request whose
                answer was lost can be sent again without starting a second run.
            body: the other keys of `POST /v1/runs`: `system`, `tools`, `output_schema`, `on_disconnect`, …

        Returns:
            The run's id.

        Raises:
            errors.HeadraceError: the server refused it or cannot be reached.
        """
        if model is not None:
            body["model"] = model
        if isinstance(prompt, str):
            body["input"] = prompt
        elif prompt is not None:
            body["messages"] = [
                messages.to_openai(item) if isinstance(item, messages.Message) else dict(item)
                for item in prompt
            ]
        if output is not None:
            body["output_schema"] = _shape(output).schema
        headers = {"Idempotency-Key": idempotency_key or ids.ulid()}
        answer = await self._json("POST", "/v1/runs", body, headers)
        return str(answer["run"])

    async def run(self, run: str) -> RunInfo:
        """A run's status and, when it has ended, its result.

        Raises:
            errors.ReadError: `run-not-found`.
        """
        return msgspec.convert(await self._json("GET", _path(run)), RunInfo)

    async def runs(self, *, limit: int | None = None, before: str | None = None) -> list[RunInfo]:
        """Runs, newest first; `before` goes on from the last one of the page before."""
        query = {"limit": limit, "before": before}
        asked = "&".join(f"{name}={quote(str(value))}" for name, value in query.items() if value is not None)
        answer = await self._json("GET", "/v1/runs" + (f"?{asked}" if asked else ""))
        return msgspec.convert(answer["runs"], list[RunInfo])

    async def cancel(self, run: str) -> RunInfo:
        """Stop a run; returns its ending. Of an ended run: changes nothing.

        Raises:
            errors.ReadError: `run-not-found`.
        """
        return msgspec.convert(await self._json("POST", _path(run) + "/cancel"), RunInfo)

    async def respond(self, run: str, request: str, value: Any) -> None:
        """Answer a `human-request`."""
        await self._json("POST", f"{_path(run)}/responses/{quote(request, safe='')}", {"value": value})

    # reading

    async def follow(self, run: str, after: int | str | None = None) -> AsyncGenerator[events.Event, None]:
        """Every event of a run, each exactly once, to its end.

        Args:
            after: a cursor, or a seq, that the reader has everything up to; default: the beginning.

        Raises:
            errors.ReadError: the run or the cursor cannot be read, or events are missing.
            errors.HeadraceError: the server could not be reached for longer than the patience allows.
        """
        async with aclosing(self.batches(run, after)) as source:
            async for batch in source:
                for event in batch:
                    yield event

    def batches(self, run: str, after: int | str | None = None) -> AsyncGenerator[list[events.Event], None]:
        """The same in batches: all that came in one read of the socket."""
        seq = cursor.parse(after, run=run) if isinstance(after, str) else after or 0
        return following.batches(lambda seq: self._events(run, seq), run, seq, patience=self._patience)

    async def text(self, run: str, after: int | str | None = None) -> AsyncGenerator[str, None]:
        """The tokens of the answer; a `headrace.Retraction` where text is taken back.

        Raises:
            errors.HeadraceError: after the last token, when the run failed; and as `follow`.
        """
        async with aclosing(self.batches(run, after)) as source:
            async for batch in source:
                for token in handle.tokens(batch):
                    yield token
                if isinstance(batch[-1], events.RunEnd):
                    raise_failure(batch[-1])

    async def partials(self, run: str, output: Any = None) -> AsyncGenerator[Any, None]:
        """The structured answer of a run so far, each time there is more of it; the last is the checked value.

        It is made here, of the run's field events: see `headrace.runs.handle.Run.partials`.

        Args:
            output: the type that the values have; default: plain JSON values.

        Raises:
            outputs.problems.ShapeError: the run's value does not fit `output`.
            errors.HeadraceError: after the last value, when the run failed; and as `follow`.
        """
        growing = grower(output)
        async with aclosing(self.batches(run)) as source:
            async for batch in source:
                if growing.add(batch):
                    yield growing.value
                if isinstance(batch[-1], events.RunEnd):
                    raise_failure(batch[-1])

    async def fields(self, run: str, after: int | str | None = None) -> AsyncGenerator[Field, None]:
        """What comes for each field of a structured answer; see `headrace.runs.handle.Run.fields`.

        Raises:
            errors.HeadraceError: after the last field, when the run failed; and as `follow`.
        """
        from headrace.runs import growing

        async with aclosing(self.batches(run, after)) as source:
            async for batch in source:
                for field in growing.fields(batch):
                    yield field
                if isinstance(batch[-1], events.RunEnd):
                    raise_failure(batch[-1])

    async def result(self, run: str) -> Result:
        """Wait for the end of a run.

        Raises:
            errors.HeadraceError: the run failed or was interrupted. A cancelled run has a result.
        """
        end: events.RunEnd | None = None
        async with aclosing(self.batches(run)) as source:
            async for batch in source:
                if isinstance(batch[-1], events.RunEnd):
                    end = batch[-1]
        if end is None:
            raise errors.ReadError(f"{run} has no ending", code="stream-incomplete")
        raise_failure(end)
        return handle.result_of(end)

    # the line

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._silence),
                headers=self._headers,
            )
        return self._session

    @asynccontextmanager
    async def _events(self, run: str, after: int) -> AsyncIterator[AsyncIterator[bytes] | None]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if after:
            headers["Last-Event-ID"] = cursor.make(run, after)
        async with self._send("GET", _path(run) + "/events", None, headers) as response:
            if response.status == 204:
                yield None
                return
            if response.content_type != "text/event-stream":
                raise errors.ReadError(
                    f"{self.url} answered with {response.content_type!r} instead of an event stream; is it a "
                    "Headrace server?",
                    code="provider-protocol",
                    retryable=False,
                )
            async with aclosing(self._chunks(response)) as chunks:
                yield chunks

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._trouble(error) from error

    async def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """One request; sent again when its line broke before the answer was complete."""
        for sent in range(1, _SENDS + 1):
            try:
                async with self._send(method, path, body, headers or {}) as response:
                    try:
                        return msgspec.json.decode(await response.read() or b"null")
                    except (aiohttp.ClientError, OSError, TimeoutError) as error:
                        raise self._trouble(error) from error
            except errors.ProviderError as error:
                if sent == _SENDS or not _broke(error.__cause__):
                    raise
                await asyncio.sleep(self._patience.pause(sent, error, lambda: 1.0))
            except msgspec.DecodeError as error:
                raise errors.ReadError(
                    f"{self.url}{path} did not answer with JSON; is it a Headrace server?",
                    code="provider-protocol",
                    retryable=False,
                ) from error
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = dict(headers)
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        try:
            response = await self._http().request(
                method, self.url + path, data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._trouble(error) from error
        finished = False
        try:
            if response.status >= 300:
                raise await self._refusal(response)
            yield response
            finished = True
        finally:
            # A stream that was left is closed for good; what was read to its end goes back to the pool.
            if finished:
                response.release()
            else:
                response.close()

    async def _refusal(self, response: aiohttp.ClientResponse) -> errors.HeadraceError:
        """The error of an answer that is not 2xx: the server's own words where it sent them."""
        try:
            data = await response.content.read(_MAX_ERROR)
            body = msgspec.json.decode(data)["error"]
            error = errors.error_for(str(body["code"]), str(body["message"]), details=body.get("details"))
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError, KeyError, TypeError):
            code = _BY_STATUS.get(
                response.status, "bad-request" if response.status < 500 else "provider-error"
            )
            error = errors.error_for(code, f"{self.url} answered with status {response.status}")
        after = retry.parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        if after is not None:
            error.retry_after = after  # type: ignore[attr-defined]
        return error

    def _trouble(self, error: BaseException) -> errors.ProviderError:
        """The line was lost, or could not be had."""
        if isinstance(error, TimeoutError):
            return errors.ProviderError(
                f"nothing was heard from {self.url} for {self._silence:g} s", code="provider-timeout"
            )
        what = str(error) or type(error).__name__
        return errors.ProviderError(
            f"the server at {self.url} cannot be reached: {what}; is it running? (`headrace serve`)",
            code="provider-unreachable",
        )


_BY_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    404: "run-not-found",
    410: "retention-passed",
    413: "too-large",
    429: "too-many",
    502: "provider-unreachable",
    503: "provider-overloaded",
    504: "provider-timeout",
}


def _broke(cause: BaseException | None) -> bool:
    """Whether a line broke that had been made: the request may have arrived, and its answer was lost."""
    lost = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError)
    return isinstance(cause, lost) and not isinstance(cause, aiohttp.ClientConnectorError)


def _path(run: str) -> str:
    return f"/v1/runs/{quote(run, safe='')}"


def _shape(output: Any) -> Any:
    from headrace.outputs.shape import Shape  # what it needs takes long to load, and most runs do without

    return Shape.of(output)


def grower(output: Any) -> Growing:
    """What makes the growing value of a type; None: of any JSON."""
    from headrace.runs import growing

    return growing.Growing(_shape({} if output is None else output))


def raise_failure(end: events.RunEnd) -> None:
    """Raise the error that a run ended with, if it did."""
    error = end.error
    if error is not None:
        raise errors.error_for(error.code, error.message, retryable=error.retryable, details=error.details)
