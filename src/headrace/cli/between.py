"""Is there something between us and a server that buffers or compresses? Judged from one streamed run.

Every event says when the server wrote it, and we know when it arrived. The quickest event is the yardstick
(so the two clocks need not agree); how much later than that the others came is how long something held them
back. `judge` is pure; `listen` does the reading, on a bare connection, because the headers and the chunks
themselves are what is looked at. Next: `doctor`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import aiohttp

from headrace import errors, events
from headrace.protocol import sse

HELD_MS = 250.0  # later than this, a person sees it
_QUIET_S = 20.0
_MANY = 8

_ADVICE = {
    "buffers": (
        "nginx: proxy_buffering off; and no `proxy_ignore_headers X-Accel-Buffering`",
        "nginx: proxy_http_version 1.1; proxy_read_timeout 1h;",
        "haproxy: no `option http-buffer-request` here; `option http-no-delay`; `timeout server 1h`",
    ),
    "compresses": (
        "nginx: take text/event-stream out of gzip_types (and brotli_types), or gzip off; for this location",
        "haproxy: take text/event-stream out of `compression type`",
    ),
    "drops-heartbeats": (
        "nginx: proxy_read_timeout 1h; haproxy: `timeout server 1h`; load balancers: an idle time-out over 60 s",
    ),
    "changes-headers": (
        "let Content-Type: text/event-stream and Cache-Control: no-transform pass as they are",
    ),
}


class Heard(NamedTuple):
    """An event as it came: seconds on our clock, and when the server wrote it."""

    arrived: float
    written: datetime


class Found(NamedTuple):
    """What was found.

    Attributes:
        problems: of `_ADVICE`'s words; none: the events come through as they are written.
        facts: what was measured, in words.
        advice: what to change, for what was found.
    """

    problems: list[str]
    facts: list[str]
    advice: list[str]


def judge(heard: Sequence[Heard], headers: Mapping[str, str]) -> Found:
    """Judge a stream by when its events came and by its headers (names in any case)."""
    lower = {name.lower(): value for name, value in headers.items()}
    problems: list[str] = []
    facts: list[str] = []
    if heard:
        begin = heard[0].written
        lag = [one.arrived - (one.written - begin).total_seconds() for one in heard]
        least = min(lag)
        late = sorted((value - least) * 1000 for value in lag)
        bursts = 1 + sum(b.arrived - a.arrived > 0.002 for a, b in itertools.pairwise(heard))
        span = (heard[-1].written - begin).total_seconds()
        facts.append(
            f"{len(heard)} events, written over {span:.1f} s, came in {bursts} bursts; held back"
            f" {late[len(late) // 2]:.0f} ms in the middle, {late[-1]:.0f} ms at most"
        )
        if late[-1] > HELD_MS and (bursts < len(heard) / _MANY or late[len(late) // 2] > HELD_MS):
            problems.append("buffers")
    encoding = lower.get("content-encoding", "identity")
    if encoding != "identity":
        facts.append(f"Content-Encoding: {encoding}, though the server compresses no stream")
        problems.append("compresses")
    kind = lower.get("content-type", "")
    if not kind.startswith("text/event-stream") or "no-transform" not in lower.get("cache-control", ""):
        facts.append(f"Content-Type: {kind or '—'}; Cache-Control: {lower.get('cache-control', '—')}")
        problems.append("changes-headers")
    proxies = [name for name in ("via", "x-cache", "cf-ray") if name in lower]
    facts += [f"{name.title()}: {lower[name]}: there is a proxy in between" for name in proxies]
    if "server" in lower:
        facts.append(f"Server: {lower['server']}: a proxy answers (Headrace does not say its name)")
    if "content-length" in lower:
        facts.append("Content-Length is set: something has read the whole stream before passing it on")
        if "buffers" not in problems:
            problems.append("buffers")
    return Found(problems, facts, [line for problem in problems for line in _ADVICE[problem]])


async def stream(url: str, key: str | None, *, model: str = "demo", prompt: str = "Hi") -> Found:
    """Stream a run of the server at `url` and judge what came.

    Raises:
        errors.HeadraceError: the server cannot be reached, or refused.
    """
    async with _session(key) as session:
        run = await _start(
            session, url, {"model": model, "input": prompt, "metadata": {"by": "headrace doctor"}}
        )
        heard: list[Heard] = []
        async with session.get(f"{url}/v1/runs/{run}/events") as response:
            await _check(response, url)
            decoder = sse.Decoder()
            async for chunk in response.content.iter_any():
                now = time.monotonic()
                for block in decoder.feed(chunk):
                    event = events.decode(block.data)
                    if event.time is not None:
                        heard.append(Heard(now, event.time))
            return judge(heard, response.headers)


async def heartbeat(url: str, key: str | None) -> Found:
    """Wait for a heartbeat, on a run whose own events are held back by `?interval=`: takes up to 20 s.

    Raises:
        errors.HeadraceError: the server cannot be reached, or refused.
    """
    async with _session(key) as session:
        run = await _start(
            session, url, {"model": "demo", "input": "long", "metadata": {"by": "headrace doctor"}}
        )
        began = time.monotonic()
        try:
            async with session.get(f"{url}/v1/runs/{run}/events?interval=60000") as response:
                await _check(response, url)
                decoder = sse.Decoder()
                async for chunk in response.content.iter_any():
                    decoder.feed(chunk)
                    if decoder.comments:
                        return Found([], [f"a heartbeat came after {time.monotonic() - began:.0f} s"], [])
                    if time.monotonic() - began > _QUIET_S:
                        break
        except TimeoutError:
            pass
        finally:
            async with session.post(f"{url}/v1/runs/{run}/cancel"):
                pass
    return Found(
        ["drops-heartbeats"],
        [f"no heartbeat came within {_QUIET_S:.0f} s (the server sends one after 15 s of silence)"],
        list(_ADVICE["drops-heartbeats"]),
    )


async def alive(url: str, key: str | None) -> str:
    """What `/healthz` and `/readyz` say.

    Raises:
        errors.HeadraceError: no Headrace server answers there.
    """
    async with _session(key) as session:
        try:
            async with session.get(f"{url}/healthz") as response:
                await _check(response, url)
            async with session.get(f"{url}/readyz") as response:
                return "ready" if response.status == 200 else f"alive, not ready ({response.status})"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _unreachable(url, error) from error


def _session(key: str | None) -> aiohttp.ClientSession:
    headers = {"Accept-Encoding": "gzip, deflate"} | ({"Authorization": f"Bearer {key}"} if key else {})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_QUIET_S + 5)
    return aiohttp.ClientSession(headers=headers, timeout=timeout)


async def _start(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> str:
    try:
        async with session.post(f"{url}/v1/runs", json=body) as response:
            await _check(response, url)
            return str((await response.json())["run"])
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise _unreachable(url, error) from error


async def _check(response: aiohttp.ClientResponse, url: str) -> None:
    if response.status < 300:
        return
    text = (await response.text())[:200]
    code = {401: "unauthorized", 403: "forbidden"}.get(response.status, "provider-error")
    raise errors.error_for(code, f"{url} answered {response.status}: {text}")


def _unreachable(url: str, error: BaseException) -> errors.ProviderError:
    return errors.ProviderError(
        f"no server answers at {url}: {str(error) or type(error).__name__}", code="provider-unreachable"
    )
