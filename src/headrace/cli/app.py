"""The `headrace` program: its commands, and how each ends.

A command returns an exit code (None is 0) or raises; here that becomes the process's exit code, and an error
becomes two lines on stderr. Options of the parser that are wrong end the same way. `--debug` shows the
traceback instead. Next: the commands, `ask` first.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from headrace import errors
from headrace.cli import (
    ask,
    batch,
    bench,
    cancel,
    chat,
    consume,
    doctor,
    failures,
    ledger,
    models,
    out,
    procedure,
    runs,
    serve,
    tail,
    template,
)

app = typer.Typer(
    name="headrace",
    help="The streaming layer for LLM applications: every token at once, nothing partial, repeated or lost.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_WrongUse: Any = typer.BadParameter.__mro__[2]
"""What the parser raises for arguments that do not fit (`ClickException`, which typer does not name)."""


def _version(wanted: bool) -> None:
    if wanted:
        import headrace

        print(f"headrace {headrace.__version__}")
        raise typer.Exit


@app.callback()
def _headrace(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Every token at once; nothing partial, repeated or lost becomes a fact."""


for command in (
    serve,
    ask,
    chat,
    tail,
    runs,
    cancel,
    consume,
    template,
    batch,
    procedure,
    models,
    doctor,
    bench,
    ledger,
):
    command.add(app)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the program and end the process with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = out.debugging = "--debug" in arguments
    try:
        code = _run([argument for argument in arguments if argument != "--debug"], debug)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has what it wanted (`| head`): quietly, and not again while Python shuts down
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = failures.DONE
    sys.exit(code)


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(arguments, prog_name="headrace", standalone_mode=False)
    except errors.HeadraceError as error:
        if debug:
            raise
        return failures.report(error)
    except _WrongUse as error:
        if not arguments or type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return failures.WRONG_USE
        return _wrong_use(error)
    except (KeyboardInterrupt, typer.Abort):
        return failures.STOPPED
    except BrokenPipeError:
        raise
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # which typer makes a failure of
            raise leaving.__context__ from None
        raise
    except OSError as error:
        if debug:
            raise
        failures.say("usage", f"{error.strerror or error}: {error.filename or 'input or output'}")
        return failures.WRONG_USE
    except Exception as error:  # a fault of ours: say so in a line, the traceback is one flag away
        if debug:
            raise
        failures.say(
            "interrupted",
            f"a fault in headrace: {type(error).__name__}: {error}",
            "headrace --debug … shows the traceback; please report it",
        )
        return failures.FAILED
    return code if isinstance(code, int) else failures.DONE


def _wrong_use(error: Any) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "headrace"
    failures.say("usage", error.format_message(), f"see {path} --help")
    return failures.WRONG_USE
