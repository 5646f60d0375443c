"""The command line: one file a command; `app` puts them together and owns exit codes and errors.

Rules of this room:

1. Data goes to stdout, everything else to stderr; `--json` is one native event a line.
2. A command's module imports only typer and small modules at its head; what it needs to work is imported in its
   function, so that `--help` and completion answer at once and each command loads only its own.
3. Exit codes: 0 done, 1 the run failed, 2 wrong use, 130 stopped. Commands return a code or raise; they never
   print a traceback.
4. Text that a model or a server wrote goes to a terminal through `clean`, into a pipe as it is.

Support: `out` (stdout and stderr), `clean` (control characters), `failures` (errors in words), `blocks` and
`region` (Markdown that grows in place), `show` (a run's events for people), `local` (a run in this process),
`remote` (a run of a server). Next: `app`.
"""

from __future__ import annotations


def main() -> None:
    """The entry point `headrace`; ends the process."""
    from headrace.cli import app

    app.main()
