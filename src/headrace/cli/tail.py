"""`headrace tail`: attach to a run of a server, from its beginning or from a place in it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from headrace.cli import failures, options, out, remote


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "tail",
        epilog=options.examples(
            "headrace tail run_01JD…",
            "headrace tail run_01JD… --json --after 17",
            "headrace tail $(headrace runs --limit 1 --ids)",
        ),
    )(tail)


def tail(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's id.", autocompletion=remote.complete_run)
    ],
    after: Annotated[
        str | None,
        typer.Option(metavar="N", help="Begin after this seq, or cursor; default: at the beginning."),
    ] = None,
    json: options.Events = False,
    markdown: options.Markdown = True,
    reasoning: options.Reasoning = False,
    url: options.Url = None,
    key: options.Key = None,
) -> int:
    """Follow a run of a server to its end.

    A line that breaks is taken up again where it broke. Ctrl-C only stops reading: the run goes on, as far as
    its own policy allows (headrace cancel stops it).
    """
    return asyncio.run(_tail(run, after, url, key, json=json, markdown=markdown, reasoning=reasoning))


async def _tail(
    run: str,
    after: str | None,
    url: str | None,
    key: str | None,
    *,
    json: bool,
    markdown: bool,
    reasoning: bool,
) -> int:
    from headrace import events
    from headrace.cli import show

    place = int(after) if after is not None and after.isdigit() else after
    end: events.RunEnd | None = None
    model = ""
    async with remote.client(url, key) as client:
        reader = show.reader(json=json, markdown=markdown, reasoning=reasoning, waiting=f"waiting for {run}")
        async with reader:
            async for batch in client.batches(run, place):
                await reader.batch(batch)
                if isinstance(batch[0], events.RunStart):
                    model = batch[0].model
                if isinstance(batch[-1], events.RunEnd):
                    end = batch[-1]
    if end is None:  # everything had been read already
        return failures.DONE
    code = show.ending(end)
    if out.is_terminal(1) and out.is_terminal(2) and not json:
        out.note("\n" + show.footer(end, model or run))
    return code
