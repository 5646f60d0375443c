"""The blocking twin of the client: the same code, on the background loop of `runs.sync`.

It is live (a token is handed out when it came) and works in any thread but an event loop's own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from headrace import events, messages
from headrace.client import following, remote
from headrace.runs import handle
from headrace.runs.spec import Result, RunInfo
from headrace.runs.sync import call

if TYPE_CHECKING:
    from headrace.runs.growing import Field


class SyncClient:
    """`Client` without async; arguments and errors are the same. Close it, or use it in `with`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: following.Patience | None = None,
        silence: float = remote.SILENCE_S,
    ) -> None:
        self._client = remote.Client(url, api_key, patience=patience, silence=silence)

    @property
    def url(self) -> str:
        """The server's."""
        return self._client.url

    def start(
        self,
        model: str | None = None,
        prompt: str | Sequence[Mapping[str, Any] | messages.Message] | None = None,
        *,
        output: Any = None,
        idempotency_key: str | None = None,
        **body: Any,
    ) -> str:
        """Start a run; returns its id."""
        return call(self._client.start(model, prompt, output=output, idempotency_key=idempotency_key, **body))

    def run(self, run: str) -> RunInfo:
        """A run's status and, when it has ended, its result."""
        return call(self._client.run(run))

    def runs(self, *, limit: int | None = None, before: str | None = None) -> list[RunInfo]:
        """Runs, newest first."""
        return call(self._client.runs(limit=limit, before=before))

    def cancel(self, run: str) -> RunInfo:
        """Stop a run; idempotent."""
        return call(self._client.cancel(run))

    def respond(self, run: str, request: str, value: Any) -> None:
        """Answer a `human-request`."""
        call(self._client.respond(run, request, value))

    def follow(self, run: str, after: int | str | None = None) -> Generator[events.Event, None, None]:
        """Every event of a run, each exactly once, to its end."""
        for batch in self._batches(run, after):
            yield from batch

    def text(self, run: str, after: int | str | None = None) -> Generator[str, None, None]:
        """The tokens of the answer; a `headrace.Retraction` where text is taken back."""
        for batch in self._batches(run, after):
            yield from handle.tokens(batch)
            if isinstance(batch[-1], events.RunEnd):
                remote.raise_failure(batch[-1])

    def partials(self, run: str, output: Any = None) -> Generator[Any, None, None]:
        """The structured answer so far, each time there is more of it; see `Client.partials`."""
        growing = remote.grower(output)
        for batch in self._batches(run, None):
            if growing.add(batch):
                yield growing.value
            if isinstance(batch[-1], events.RunEnd):
                remote.raise_failure(batch[-1])

    def fields(self, run: str, after: int | str | None = None) -> Generator[Field, None, None]:
        """What comes for each field of a structured answer; see `Client.fields`."""
        from headrace.runs import growing

        for batch in self._batches(run, after):
            yield from growing.fields(batch)
            if isinstance(batch[-1], events.RunEnd):
                remote.raise_failure(batch[-1])

    def result(self, run: str) -> Result:
        """Wait for the end of a run."""
        return call(self._client.result(run))

    def _batches(self, run: str, after: int | str | None) -> Generator[list[events.Event], None, None]:
        source = self._client.batches(run, after)
        try:
            while (batch := call(_next(source))) is not None:
                yield batch
        finally:
            call(source.aclose())

    def close(self) -> None:
        """Close all connections. Idempotent."""
        call(self._client.close())

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _next(source: AsyncGenerator[list[events.Event], None]) -> list[events.Event] | None:
    return await anext(source, None)
