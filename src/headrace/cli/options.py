"""What commands have in common in their arguments: the examples of `--help`, options of the same name. Light.

Next: the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, for programs.")]
Events = Annotated[bool, typer.Option("--json", help="One native event a line, as JSON.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="PROVIDER:MODEL. Default: HEADRACE_MODEL, else what is set up."
    ),
]
Markdown = Annotated[
    bool, typer.Option("--markdown/--no-markdown", help="On a terminal, render the Markdown.")
]
Reasoning = Annotated[bool, typer.Option("--reasoning", help="Show what the model thinks, whole.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The server. Default: HEADRACE_URL, else http://127.0.0.1:8642."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", help="An API key of the server. Default: the first of HEADRACE_API_KEYS."
    ),
]
Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        "-t",
        metavar="REF",
        help="Functions the model may call: FILE.py, MODULE:NAME, mcp:SERVER; may be repeated.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Allow the calls of tools that a person has to allow.")
]


def examples(*lines: str) -> str:
    """The end of a command's help: its examples, one a line, shown as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
