"""`headrace models`: what is set up and can be reached; `models test` asks models and says whether they stream."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from headrace import errors
from headrace.cli import failures, options, out

if TYPE_CHECKING:
    from headrace import events
    from headrace.providers.registry import Known, Listing

_SHOWN = 6  # models named in the table; --json and `models PROVIDER` have all
_TOO_FAST_MS = 100.0
_SLOW_MS = 1000.0  # a quicker answer may really have come at the end of the wait for its first token
_FEW = 10  # pieces that come together because there are no more
_LARGE = 32.0  # characters; a token of text has four or five, and providers send a few at a time
_ENOUGH, _TRIES = 100, 5  # characters to judge by; a model that says less is asked again
_QUESTION = "Count from one to fifty in words, one number a line. Write nothing else."


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(
        invoke_without_command=True,
        epilog=options.examples(
            "headrace models",
            "headrace models --all",
            "headrace models --json | jq -r '.models[]'",
            "headrace models test ollama:llama3.2",
        ),
    )(models)
    group.command(
        "test",
        epilog=options.examples(
            "headrace models test openai:gpt-4o-mini",
            "headrace models test openai:gpt-4o-mini anthropic:claude-sonnet-4-5 ollama:llama3.2",
        ),
    )(try_one)
    app.add_typer(group, name="models")


def models(
    context: typer.Context,
    all_: Annotated[
        bool, typer.Option("--all", help="Every provider there is a name for, and all models of each.")
    ] = False,
    json: options.Json = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for each provider.")
    ] = 3.0,
) -> int:
    """What models can be asked: what is set up, what answers, and which is the default."""
    if context.invoked_subcommand is not None:
        return 0
    default, rows = asyncio.run(listed(timeout))
    if json:
        import msgspec

        for row in rows:
            out.line(msgspec.json.encode(_plain(row, default)).decode())
        return 0
    shown = [row for row in rows if all_ or row.configured or row.answers]
    out.table(("PROVIDER", "STATE", "MODELS", "SET UP WITH"), (_cells(row, all_) for row in shown))
    out.note(f"the default is {default}")
    if len(shown) < len(rows):
        out.note(f"{len(rows) - len(shown)} more providers are not set up; --all lists them")
    return 0


class Row(NamedTuple):
    """A provider, and what it answered; `configured`: a person has set it up, or it needs nothing."""

    known: Known
    listing: Listing | None
    configured: bool

    @property
    def answers(self) -> bool:
        """Whether it was asked and answered."""
        return self.listing is not None and self.listing.error is None


async def listed(timeout: float) -> tuple[str, list[Row]]:
    """The default model, and every provider with what it answered within `timeout` seconds.

    Raises:
        errors.UsageError: a setting is wrong.
    """
    from headrace import settings
    from headrace.providers import presets, registry

    chosen = settings.load()
    providers = registry.Registry(chosen)
    try:
        answers = {listing.provider: listing for listing in await providers.models(timeout)}
    finally:
        await providers.close()
    rows = []
    for known in providers.known():
        preset = presets.BY_NAME.get(known.name)
        configured = (
            preset.is_set_up(chosen) if preset else known.origin == "settings" or known.name == "demo"
        )
        rows.append(Row(known, answers.get(known.name), configured))
    return providers.default_model(), rows


def _plain(row: Row, default: str) -> dict[str, Any]:
    listing = row.listing
    body: dict[str, Any] = {
        "provider": row.known.name,
        "configured": row.configured,
        "reachable": row.answers if listing is not None else None,
        "variable": row.known.variable,
        "base_url": row.known.base_url,
        "default_model": row.known.default_model,
        "models": listing.models if listing is not None else [],
    }
    if default == row.known.name or default.startswith((f"{row.known.name}:", f"{row.known.name}/")):
        body["default"] = default
    if listing is not None and listing.error is not None:
        body["error"] = listing.error.to_json()
    return body


def _cells(row: Row, all_: bool) -> tuple[str, ...]:
    known, listing = row.known, row.listing
    names: list[str] = []
    if listing is None:
        state = "not asked" if known.set_up else "not set up"
    elif listing.error is not None:
        state = listing.error.code
    else:
        state, names = "answers", [name.partition(":")[2] for name in listing.models]
    shown = names if all_ else names[:_SHOWN]
    more = f", … {len(names)} in all" if len(shown) < len(names) else ""
    return known.name, state, ", ".join(shown) + more or known.notes or "—", known.variable or "—"


# does it stream?


def try_one(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help="PROVIDER:MODEL, one or more")],
    json: options.Json = False,
    max_tokens: Annotated[int, typer.Option(min=8, metavar="TOKENS", help="The longest answer.")] = 200,
) -> int:
    """Ask models for some text and say whether each streams token by token, in large chunks, or not at all.

    Exits 0 where all of them stream token by token, else 1.
    """
    if len(models) == 1 and not json:
        return _report(models[0], max_tokens)
    import msgspec

    rows, good = [], True
    for model in models:
        try:
            end, seen = asyncio.run(_measure(model, max_tokens))
        except errors.HeadraceError as failed:
            if len(models) == 1:
                raise
            code = failed.code
        else:
            code = end.error.code if end.error is not None else end.outcome
        if code != "completed":
            good = False
            rows.append((model, code, "—", "—", "—"))
            if json:
                out.line(msgspec.json.encode({"model": model, "error": code}).decode())
            continue
        found = judge(seen, end.elapsed_ms or 0.0)
        good = good and found["streams"]
        if json:
            body = {"model": model, "first_token_ms": end.first_token_ms, **found}
            out.line(msgspec.json.encode(body).decode())
        gap = f"{found['median_gap_ms']:.1f} ms"
        rows.append((model, found["how"], str(found["pieces"]), gap, _first(end)))
    if not json:
        out.table(("MODEL", "STREAMS", "CHUNKS", "MEDIAN GAP", "FIRST TOKEN"), rows)
    return failures.DONE if good else failures.FAILED


def _report(model: str, max_tokens: int) -> int:
    """One model, in a few lines."""
    end, seen = asyncio.run(_measure(model, max_tokens))
    if end.outcome != "completed":
        from headrace.cli import show

        return show.ending(end)
    found = judge(seen, end.elapsed_ms or 0.0)
    out.line(f"first token   {_first(end)}")
    out.line(
        f"pieces        {found['pieces']} in {found['arrivals']} arrivals, {found['piece']:.0f} characters each"
    )
    out.line(f"median gap    {found['median_gap_ms']:.1f} ms")
    out.line(f"whole answer  {end.elapsed_ms or 0:.0f} ms")
    out.line(f"verdict       {found['verdict']}")
    return failures.DONE if found["streams"] else failures.FAILED


def _first(end: events.RunEnd) -> str:
    return "—" if end.first_token_ms is None else f"{end.first_token_ms:.0f} ms"


class Arrival(NamedTuple):
    """Pieces that came together: when, in seconds, how many, and how many characters."""

    time: float
    pieces: int
    characters: int


def judge(seen: Sequence[Arrival], elapsed_ms: float) -> dict[str, Any]:
    """Whether an answer that arrived so was streamed: `how` in two or three words, `verdict` in a sentence."""
    pieces = sum(arrival.pieces for arrival in seen)
    gaps = [(b.time - a.time) * 1000 for a, b in itertools.pairwise(seen)]
    sizes = [arrival.characters / arrival.pieces for arrival in seen]
    size = statistics.median(sizes) if sizes else 0.0
    found: dict[str, Any] = {
        "pieces": pieces,
        "arrivals": len(seen),
        "piece": round(size, 1),
        "median_gap_ms": round(statistics.median(gaps), 3) if gaps else 0.0,
        "elapsed_ms": elapsed_ms,
    }
    total = sum(arrival.characters for arrival in seen) or 1
    biggest = max((arrival.characters for arrival in seen), default=0) / total
    span = (seen[-1].time - seen[0].time) * 1000 if seen else 0.0
    how = "not at all"
    if pieces == 0:
        verdict = "no text came, so there is nothing to judge"
    elif pieces == 1 or (len(seen) <= 2 and biggest > 0.9):
        verdict = "does not stream: the answer came in one piece, when it was complete"
    elif biggest > 0.5:
        how = "in large chunks"
        verdict = f"streams in lumps: {biggest:.0%} of the text came at once"
    elif size > _LARGE:
        how = "in large chunks"
        verdict = f"streams in large chunks of {size:.0f} characters, not tokens"
    elif elapsed_ms < _TOO_FAST_MS or pieces < _FEW:
        how = "token by token"
        verdict = f"streams, as far as can be told: it was over at once, with {pieces} pieces"
    elif span < 0.1 * elapsed_ms and elapsed_ms >= _SLOW_MS:
        how = "held back"
        verdict = (
            f"held back: all pieces came within the last {span:.0f} of {elapsed_ms:.0f} ms; is there a proxy"
            " in between that buffers?"
        )
    else:
        how, verdict = "token by token", "streams token by token"
    return found | {"streams": how == "token by token", "how": how, "verdict": verdict}


async def _measure(model: str, max_tokens: int) -> tuple[events.RunEnd, list[Arrival]]:
    from headrace.cli import local

    async with local.opened() as here:
        best, found = -1, None
        for _ in range(_TRIES):
            watch = _Watch()
            end = await here.follow(watch, model, _QUESTION, max_tokens=max_tokens)
            length = sum(arrival.characters for arrival in watch.seen)
            if length > best and (found is None or end.outcome == "completed"):
                best, found = length, (end, watch.seen)
            if best >= _ENOUGH or end.outcome != "completed":
                break
    return found or (end, watch.seen)


class _Watch:
    """Notes when text arrives."""

    def __init__(self) -> None:
        self.seen: list[Arrival] = []

    async def batch(self, batch: list[events.Event]) -> None:
        from headrace import events

        texts = [e.delta for e in batch if isinstance(e, events.TextDelta | events.ReasoningDelta)]
        if texts:
            self.seen.append(Arrival(time.monotonic(), len(texts), sum(map(len, texts))))
