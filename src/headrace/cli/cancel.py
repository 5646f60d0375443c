"""`headrace cancel`: stop a run of a server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options, out, remote

if TYPE_CHECKING:
    from headrace.runs.spec import RunInfo


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cancel", epilog=options.examples("headrace cancel run_01JD…"))(cancel)


def cancel(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's id.", autocompletion=remote.complete_run)
    ],
    json: options.Json = False,
    url: options.Url = None,
    key: options.Key = None,
) -> int:
    """Stop a run, and close its connection to the provider.

    Says how the run ended: a run that had ended before is left as it was. Exits 0 in both cases.
    """
    ended = asyncio.run(_cancel(run, url, key))
    if json:
        import msgspec

        out.line(msgspec.json.encode(ended).decode())
    else:
        out.line(ended.outcome or ended.status)
    return 0


async def _cancel(run: str, url: str | None, key: str | None) -> RunInfo:
    async with remote.client(url, key) as client:
        return await client.cancel(run)
