"""`headrace batch`: many rows through one template, with a progress bar, into files; interrupted, it can go on.

Rows and results are `headrace.batch`'s; here are the arguments, what a terminal shows, and the exit code.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import clean, failures, options, out
from headrace.cli import template as templates

if TYPE_CHECKING:
    from headrace.batch import Batch, Report, RowDone

LINES = 20
"""Lines of progress at most, where stderr is no terminal."""


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "batch",
        epilog=options.examples(
            "headrace batch review.hr.md -i reviews.csv -o rated.csv --concurrency 20",
            "headrace batch review.hr.md -i reviews.csv -o rated.xlsx --head 10",
            "headrace batch review.hr.md -i reviews.csv -o rated.csv --resume",
            "headrace batch mood.hr.md -i labelled.csv -o found.csv --keep --compare mood=label",
            "headrace batch summary.hr.md -i 'letters/*.txt' -o summaries.md",
        ),
    )(batch)


def batch(
    file: templates.File,
    model: options.Model = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="INPUT",
            help="Rows: csv, xlsx, json, jsonl, text files, globs, - for stdin. Repeatable. FORMAT:FILE forces one.",
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="csv, xlsx, json, jsonl or md, by suffix. Repeatable. Default: JSON lines on stdout.",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Calls at the same time.")] = 8,
    head: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the first rows, and what all of them would cost."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write the columns of the input too.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Compare with a column of right answers; SLOT=COLUMN."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what was interrupted; nothing is paid twice.")
    ] = False,
    param: templates.Params = None,
    include: templates.Include = None,
    strict: Annotated[bool, typer.Option("--strict", help="A variable without a value is an error.")] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Ask the same question once.")] = True,
    cache_file: templates.CacheFile = None,
    cache_size: templates.CacheSize = 64,
    json: Annotated[bool, typer.Option("--json", help="One row a line on stdout as they end.")] = False,
) -> int:
    """Run a template for every row of the input.

    A row that fails has its reason in the column `error`, and the exit code is 1. Ctrl-C stops with 130, and
    --resume goes on.
    """
    from headrace import batch as batches
    from headrace.batch import sheets

    if not input:
        raise typer.BadParameter("there are no rows: -i FILE, or -i - for stdin", param_hint="--input")
    outputs = list(output or ())
    for path in outputs:
        sheets.check(path)
    if resume and not outputs:
        raise typer.BadParameter("there is nothing to go on with without --output", param_hint="--resume")
    template = templates.load(file, include)
    rows = batches.read(input)
    if compare is not None:
        from headrace.batch import api

        api.compared(compare, [slot.key for slot in template.plan.slots], rows)
    given: dict[str, Any] = {
        "concurrency": concurrency,
        "inputs": templates.params(param or []),
        "strict": strict,
        "cache": templates.made_cache(cache, cache_file, cache_size),
    }
    how: dict[str, Any] = {
        "head": head,
        "resume": resume,
        "journal": f"{outputs[0]}.journal" if outputs else None,
    }
    with templates.told():
        return asyncio.run(_run(template, model, rows, given, how, _Ends(outputs, keep, compare, json)))


async def _run(
    template: Any, model: str | None, rows: list[Any], given: dict[str, Any], how: dict[str, Any], ends: _Ends
) -> int:
    from headrace import batch as batches
    from headrace.cli import local

    async with local.opened() as here:
        made = batches.Batch(template, model or here.registry.default_model(), engine=here.engine, **given)
        _warn(made, rows, strict=given["strict"])
        total = len(rows) if how["head"] is None else min(how["head"], len(rows))
        with _progress(total) as progress:
            async with made.stream(rows, **how) as run:
                try:
                    async for event in run:
                        if event.type == "row":
                            progress.row(event)
                            if ends.json:
                                out.line(_line(event))
                except asyncio.CancelledError:
                    progress.stop()
                    done = len(run.report().rows)
                    more = "; --resume goes on, and pays nothing twice" if how["journal"] else ""
                    out.note(f"stopped after {done:,} of {total:,} rows{more}", "warn")
                    raise
        return ends.write(run.report())


def _warn(batch: Batch, rows: list[Any], *, strict: bool) -> None:
    from headrace import errors

    missing = batch.missing(rows)
    if not missing or not rows:
        return
    names = ", ".join(missing)
    known = ", ".join(dict.fromkeys(key for row in rows for key in row))
    told = f"the template wants {names}, and no row has it; there are {known}"
    if strict:
        raise errors.UsageError(told, code="bad-request")
    out.note(f"note: {told}", "warn")


class _Ends:
    """What is done with the rows in the end."""

    def __init__(self, outputs: list[Path], keep: bool, compare: str | None, json: bool) -> None:
        self.outputs = outputs
        self.keep = keep
        self.compare = compare
        self.json = json

    def write(self, report: Report) -> int:
        """Write the outputs, say what it came to; returns the exit code."""
        from headrace.batch import agreement, sheets

        table = report.table(keep=self.keep)
        for path in self.outputs:
            cut = sheets.write(path, table)
            if cut:
                out.note(f"note: {path}: {cut:,} cells were cut to what Excel can hold", "warn")
        if not self.outputs and not self.json:
            for line in sheets.encode("jsonl", table).splitlines():
                out.line(line)
        found = report.compare(self.compare) if self.compare is not None else None
        if self.json:
            out.line(_summary(report, found))
        failed = report.failed
        rows = "1 row" if len(report.rows) == 1 else f"{len(report.rows):,} rows"
        words = [rows, f"{len(failed):,} failed", f"cost {_cost(report)}"]
        words.append(f"{_clock(report.elapsed_s)}")
        out.note(", ".join(words), "warn" if failed else "good")
        for row in failed[:3]:
            out.note(f"  row {row.index + 1}: {clean.line(str(row.error))[:300]}", "error")
        if report.left:
            projected = report.projected()
            cost = "is not known" if projected is None else f"would be about {_money(projected, report)}"
            out.note(f"the cost of all {report.total + report.left:,} rows {cost}")
        if found is not None:
            out.note(clean.clean(agreement.shown(found)), "")
        return failures.FAILED if failed else failures.DONE


def _line(row: RowDone) -> str:
    import msgspec

    from headrace.templates.expressions import plain

    found = {
        "row": row.index,
        "values": plain(row.values),
        "error": None if row.error is None else f"{row.error.code}: {row.error.message}",
        "cost": row.cost,
        "elapsed_ms": row.elapsed_ms,
        "resumed": row.resumed,
    }
    return msgspec.json.encode(found).decode()


def _summary(report: Report, compared: Any) -> str:
    import msgspec

    found = {
        "rows": len(report.rows),
        "failed": len(report.failed),
        "usage": report.usage,
        "cost": report.cost,
        "elapsed_s": round(report.elapsed_s, 3),
        "projected_cost": report.projected() if report.left else None,
        "compare": compared,
    }
    return msgspec.json.encode(found).decode()


def _money(amount: float, report: Report) -> str:
    currency = next((row.usage.currency for row in report.rows if row.usage and row.usage.currency), "")
    return f"{amount:.4f} {currency}".rstrip()


def _cost(report: Report) -> str:
    known = report.known_cost
    if report.cost is not None:
        return _money(report.cost, report)
    return f"at least {_money(known, report)}" if known else "unknown"


def _clock(seconds: float) -> str:
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class _Figures:
    """What is known while a batch is at work."""

    def __init__(self, total: int) -> None:
        from time import monotonic

        self.total = total
        self.done = self.failed = self.asked = 0
        self.cost = 0.0
        self.unknown = False
        self.currency = ""
        self._clock = monotonic
        self._began = monotonic()

    def take(self, row: RowDone) -> None:
        self.done += 1
        self.failed += row.error is not None
        self.asked += not row.resumed
        if row.cost is None:
            self.unknown = True
        else:
            self.cost += row.cost
        if row.usage is not None and row.usage.currency:
            self.currency = row.usage.currency

    def costs(self) -> str:
        if self.unknown and not self.cost:
            return "cost unknown"
        return f"cost {'≥ ' if self.unknown else ''}{self.cost:.4f} {self.currency}".rstrip()

    def left(self) -> str:
        """The time that is left, from the rows that this process has asked."""
        if not self.asked:
            return "time left —"
        mean = (self._clock() - self._began) / self.asked
        return f"{_clock(mean * (self.total - self.done))} left"


class _Lines:
    """Progress where stderr is no terminal: a line now and then."""

    def __init__(self, total: int) -> None:
        self._figures = _Figures(total)
        self._every = max(1, math.ceil(total / LINES))

    def row(self, row: RowDone) -> None:
        figures = self._figures
        figures.take(row)
        if figures.done % self._every == 0 or figures.done == figures.total:
            out.note(
                f"{figures.done:,}/{figures.total:,} rows, {figures.failed:,} failed, {figures.costs()}, "
                f"{figures.left()}"
            )

    def stop(self) -> None:
        """Nothing is in the way."""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Bar:
    """Progress on a terminal: a bar, failures, the cost so far, the time left."""

    def __init__(self, total: int) -> None:
        from rich import progress
        from rich.console import Console

        self._figures = _Figures(total)
        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)

    def row(self, row: RowDone) -> None:
        figures = self._figures
        figures.take(row)
        told = f"{figures.failed:,} failed  {figures.costs()}  {figures.left()}"
        self._bar.update(self._task, advance=1, description=told)

    def stop(self) -> None:
        self._bar.stop()

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _progress(total: int) -> _Bar | _Lines:
    return _Bar(total) if out.is_terminal(2) else _Lines(total)
