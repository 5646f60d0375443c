"""`headrace consume`: read events back from a broker, as lines for people or as native events for programs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from headrace.cli import options


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "consume",
        epilog=options.examples(
            "headrace consume redis://localhost:6379",
            "headrace consume redis://localhost:6379 --json --start end | jq .",
            "headrace consume amqp://localhost --group audit --count 100",
            "headrace consume 'amqp://localhost?stream=true' --start beginning",
        ),
    )(consume)


def consume(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="redis://… or amqp://…, with options in the query.")
    ],
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Share the events with others of this group, and keep the place."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="beginning, end, or a position of the broker's."),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after so many events; default: never.")
    ] = None,
    json: options.Events = False,
    inline: Annotated[
        bool, typer.Option("--inline", help="Tokens as running text instead of lines.")
    ] = False,
) -> int:
    """Read events that a sink has sent to a broker.

    Without --group every event is shown and nobody else misses it. A broker that goes away is waited for. Ctrl-C
    ends it.
    """
    given: dict[str, Any] = {"group": group} if group is not None or "group=" not in url else {}
    if start is not None:
        given["start"] = start
    asyncio.run(_consume(url, given, count, json=json, inline=inline))
    return 0


async def _consume(url: str, given: dict[str, Any], count: int | None, *, json: bool, inline: bool) -> None:
    from headrace import events
    from headrace.cli import out
    from headrace.consumer import EventConsumer
    from headrace.core.events import to_native
    from headrace.sinks.terminal import TerminalSink

    consumer = EventConsumer(url, **given)
    show = TerminalSink(inline=inline, verbose=True)
    async for event in consumer:
        if json:
            out.line(events.encode(to_native(event)).decode())
        else:
            show.handle_event(event)
        if count is not None and consumer.handled + 1 >= count:
            consumer.stop()
    await show.disconnect()
