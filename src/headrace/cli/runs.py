"""`headrace runs`: the runs of a server, newest first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options, out, remote

if TYPE_CHECKING:
    from headrace.runs.spec import RunInfo

_PAGE = 50


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "runs",
        epilog=options.examples(
            "headrace runs",
            "headrace runs --limit 5 --url http://10.0.0.7:8642",
            "headrace runs --json | jq -r 'select(.outcome == \"failed\") | .error.message'",
            "headrace tail $(headrace runs --limit 1 --ids)",
        ),
    )(runs)


def runs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="How many.")] = 20,
    ids: Annotated[bool, typer.Option("--ids", help="Only their ids, one a line.")] = False,
    json: options.Json = False,
    url: options.Url = None,
    key: options.Key = None,
) -> int:
    """List the runs of a server, newest first."""
    found = asyncio.run(_list(limit, url, key))
    if json:
        import msgspec

        for run in found:
            out.line(msgspec.json.encode(run).decode())
    elif ids:
        for run in found:
            out.line(run.run)
    else:
        out.table(("RUN", "MODEL", "STATE", "FIRST TOKEN", "TOOK", "BEGUN"), (_row(run) for run in found))
        if not found:
            out.note("there are no runs yet")
    return 0


async def _list(limit: int, url: str | None, key: str | None) -> list[RunInfo]:
    found: list[RunInfo] = []
    async with remote.client(url, key) as client:
        while len(found) < limit:
            wanted = min(_PAGE, limit - len(found))
            page = await client.runs(limit=wanted, before=found[-1].run if found else None)
            found += page
            if len(page) < wanted:
                break
    return found


def _row(run: RunInfo) -> tuple[str, ...]:
    state: str = run.outcome or run.status
    if run.error is not None:
        state += f" ({run.error.code})"
    first = "—" if run.first_token_ms is None else f"{run.first_token_ms:.0f} ms"
    took = "—" if run.elapsed_ms is None else f"{run.elapsed_ms / 1000:.1f} s"
    return (run.run, run.model, state, first, took, f"{run.created.astimezone():%Y-%m-%d %H:%M:%S}")
