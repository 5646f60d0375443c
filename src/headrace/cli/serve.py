"""`headrace serve`: the server and its page. Arguments over settings, then `server.runner` does the work."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli import options


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "serve",
        epilog=options.examples(
            "headrace serve",
            "headrace serve --model ollama:llama3.2 --store sqlite:///chat.db",
            "headrace serve --sink redis://localhost:6379",
            "HEADRACE_API_KEYS=secret headrace serve --host 0.0.0.0",
            'headrace serve --tool shop/tools.py --tool mcp:files   # what runs may name under "tools"',
            "curl -N 'http://127.0.0.1:8642/api/chat?message=Hi'",
        ),
    )(serve)


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; other than loopback wants API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.")] = 8642,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The model where a request names none."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="The ledger: sqlite:///PATH or memory.")
    ] = None,
    runlog: Annotated[
        str | None, typer.Option(metavar="URL", help="Where live events are kept: memory.")
    ] = None,
    tool: options.Tools = None,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes; for more the run log must be shared.")
    ] = 1,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Send every run there too: redis://…, amqp://…, a file. Repeatable."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on other addresses without API keys.")
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="What live runs get to finish when the server is stopped."
        ),
    ] = None,
) -> int:
    """Run the server and its web page.

    Prints where it listens on stderr. The first Ctrl-C (or SIGTERM) takes no new runs and lets live ones
    finish; the second stops at once.
    """
    from headrace import settings
    from headrace.server import runner

    given: dict[str, Any] = {
        "model": model,
        "store": store,
        "runlog": runlog,
        "drain_seconds": grace,
        "tools": tuple(tool) if tool else None,
        "sinks": tuple(sink) if sink else None,
    }
    chosen = settings.load(**{name: value for name, value in given.items() if value is not None})
    runner.serve(chosen, host=host, port=port, insecure=insecure, workers=workers)
    return 0
