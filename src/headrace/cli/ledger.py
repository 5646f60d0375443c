"""`headrace ledger`: verify, show, replay and export what is recorded. Nothing here writes to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from headrace.cli import failures, options, out

if TYPE_CHECKING:
    from headrace.ledger import Conversation, Fact, Ledger, Report
    from headrace.memory.replay import Replayed

Store = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="sqlite:///PATH or postgresql://…  Default: HEADRACE_STORE."),
]
_PAGE = 200


def add(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Look into the ledger: what was asked and answered, for ever.",
        no_args_is_help=True,
        rich_markup_mode=None,
        epilog=options.examples(
            "headrace ledger verify",
            "headrace ledger show",
            "headrace ledger export -o facts.jsonl",
        ),
    )
    group.command(
        "verify",
        epilog=options.examples(
            "headrace ledger verify", "headrace ledger verify --store sqlite:///backup.db && echo good"
        ),
    )(verify)
    group.command(
        "show",
        epilog=options.examples(
            "headrace ledger show", "headrace ledger show run_01JD…", "headrace ledger show run_01JD… --json"
        ),
    )(show)
    group.command(
        "export",
        epilog=options.examples(
            "headrace ledger export -o facts.jsonl",
            "headrace ledger export | jq -r 'select(.kind == \"user\").content'",
        ),
    )(export)
    group.command(
        "replay",
        epilog=options.examples("headrace ledger replay", "headrace ledger replay CONVERSATION --json"),
    )(replay)
    app.add_typer(group, name="ledger")


def verify(store: Store = None, json: options.Json = False) -> int:
    """Recompute every hash. Exits 0 when nothing was changed, lost or torn; else 1, and names each row."""
    report: Report = asyncio.run(_verify(_url(store)))
    if json:
        import msgspec

        out.line(msgspec.json.encode(report).decode())
    else:
        for problem in report.problems:
            place = f"{problem.conversation} {problem.seq}" if problem.conversation else "the store"
            out.line(f"{place}: {problem.what}")
        if report.more:
            out.line(f"… and {report.more} more")
        if report.ok:
            out.line(f"good: {report.facts} facts in {report.conversations} conversations")
            out.line(f"seal: {report.head}")
    if not report.ok:
        failures.say(
            "store-unavailable",
            f"the ledger does not verify: {len(report.problems) + report.more} problems in {report.facts} facts",
            "put back a copy that verifies; what is named above was changed or lost after it was written",
        )
    return failures.DONE if report.ok else failures.FAILED


async def _verify(url: str) -> Report:
    from headrace.ledger import verify_ledger

    return await verify_ledger(url)


def show(
    conversation: Annotated[
        str | None, typer.Argument(metavar="CONVERSATION", help="A conversation, or a run's id.")
    ] = None,
    store: Store = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many conversations.")] = 20,
    json: options.Json = False,
) -> int:
    """List the conversations, newest first; or show the facts of one."""
    if conversation is None:
        found = asyncio.run(_conversations(_url(store), limit))
        if json:
            import msgspec

            for item in found:
                out.line(msgspec.json.encode(item).decode())
        else:
            out.table(("CONVERSATION", "FACTS", "OWNER", "UPDATED"), (_row(item) for item in found))
            if not found:
                out.note("the ledger is empty")
        return 0
    facts = asyncio.run(_facts(_url(store), conversation))
    if not facts:
        failures.say(
            "run-not-found", f"there is no conversation {conversation!r}", "headrace ledger show lists them"
        )
        return failures.FAILED
    for fact in facts:
        if json:
            import msgspec

            out.line(msgspec.json.encode(fact).decode())
        else:
            _print(fact)
    return 0


def export(
    conversation: Annotated[str | None, typer.Argument(metavar="CONVERSATION", help="Only this one.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: stdout.")
    ] = None,
    store: Store = None,
) -> int:
    """Write every fact as a line of JSON, a conversation at a time, each in order."""
    url = _url(store)
    if output is None:
        count = asyncio.run(_export(url, conversation, sys.stdout.buffer))
    else:
        with output.open("wb") as file:
            count = asyncio.run(_export(url, conversation, file))
    out.note(f"{count} facts")
    return 0


def replay(
    conversation: Annotated[str | None, typer.Argument(metavar="CONVERSATION", help="Only this one.")] = None,
    store: Store = None,
    json: options.Json = False,
) -> int:
    """Build every view again from the first fact; the same facts give the same digests."""
    found = asyncio.run(_replay(_url(store), conversation))
    if conversation is not None and not found[0].facts:
        failures.say(
            "run-not-found", f"there is no conversation {conversation!r}", "headrace ledger show lists them"
        )
        return failures.FAILED
    if json:
        import msgspec

        for item in found:
            out.line(msgspec.json.encode(item).decode())
        return failures.DONE
    from headrace.memory import replay as replays

    for item in found:
        out.line(f"{item.conversation}: {item.facts} facts")
        for name, digest in item.views.items():
            out.line(f"  {name:8} {digest}")
    out.line(f"digest: {replays.total(found)}")
    return failures.DONE


async def _replay(url: str, conversation: str | None) -> list[Replayed]:
    from headrace.memory import replay as replays

    async with _opened(url) as ledger:
        if conversation is not None:
            return [await replays.replay(ledger, conversation)]
        return [item async for item in replays.replay_all(ledger)]


async def _export(url: str, conversation: str | None, file: BinaryIO) -> int:
    import msgspec

    encoder, count = msgspec.json.Encoder(), 0
    async with _opened(url) as ledger:
        async for fact in ledger.export(conversation):
            file.write(encoder.encode(fact) + b"\n")
            count += 1
    file.flush()
    return count


async def _conversations(url: str, limit: int) -> list[Conversation]:
    found: list[Conversation] = []
    async with _opened(url) as ledger:
        while len(found) < limit:
            before = found[-1].conversation if found else None
            wanted = min(_PAGE, limit - len(found))
            page = await ledger.conversations(owner=None, before=before, limit=wanted)
            found += page
            if len(page) < wanted:
                break
    return found


async def _facts(url: str, conversation: str) -> list[Fact]:
    found: list[Fact] = []
    async with _opened(url) as ledger:
        record = await ledger.run(conversation)
        name = record.conversation if record is not None else conversation
        while page := await ledger.facts(name, after=found[-1].seq if found else 0, limit=1000):
            found += page
    return found


def _url(store: str | None) -> str:
    from headrace import settings

    return store or settings.load().store


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Ledger]:
    """The ledger, if it is there: looking must not make one.

    Raises:
        errors.StoreError: there is none, or it cannot be opened.
        errors.UsageError: the URL is none of a ledger.
    """
    from headrace import errors
    from headrace.ledger import open_ledger

    path = url.removeprefix("sqlite:///")
    if path != url and not os.access(path, os.F_OK):
        raise errors.StoreError(
            f"there is no ledger at {path!r}; a server makes it when it first runs", retryable=False
        )
    if url.startswith(("postgresql://", "postgres://")):
        from headrace.ledger import postgres_link

        (await postgres_link.existing(postgres_link.parse(url))).terminate()
    ledger = open_ledger(url)
    try:
        yield ledger
    finally:
        await ledger.close()


def _row(item: Conversation) -> tuple[str, ...]:
    updated = f"{item.updated.astimezone():%Y-%m-%d %H:%M:%S}"
    return item.conversation, str(item.count), item.owner or "—", updated


def _print(fact: Fact) -> None:
    time = f"{fact.time.astimezone():%Y-%m-%d %H:%M:%S}"
    what = f" ({fact.meta.get('outcome')})" if fact.kind == "generation-ended" else ""
    out.line(f"{fact.seq} {fact.kind}{what}  {time}  {fact.hash[:12]}", "dim")
    if fact.content:
        for line in fact.content.rstrip("\n").split("\n"):
            out.line(f"  {line}")
