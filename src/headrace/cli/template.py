"""`headrace template`: run a template, check it, and show what it is: its graph, its text, what it will ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import clean, failures, options, out

if TYPE_CHECKING:
    from headrace.templates.api import Template

File = Annotated[Path, typer.Argument(metavar="FILE", help="The template: Markdown or text with slots.")]
Include = Annotated[
    list[Path] | None,
    typer.Option("--include", "-I", metavar="DIR", help="Search includes there too; may be repeated."),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param", "-p", metavar="NAME=VALUE", help="A variable; NAME=@FILE takes a file's text. Repeatable."
    ),
]

CacheFile = Annotated[
    str | None,
    typer.Option(metavar="FILE|URL", help="Keep answers there from run to run: a SQLite file, or redis://…"),
]
CacheSize = Annotated[
    int, typer.Option(min=1, metavar="MB", help="What they may take; the least used go first.")
]


def add(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Templates: prompts with typed slots.",
        epilog=options.examples(
            "headrace template run letter.hr.md --param name=Ada", "headrace template check letter.hr.md"
        ),
        rich_markup_mode=None,
    )
    group.command(
        "run",
        epilog=options.examples(
            "headrace template run letter.hr.md -m openai:gpt-4o-mini --param name=Ada",
            "headrace template run review.hr.md --param text=@paper.txt --strict > answers.json",
            "headrace template run review.hr.md --json | jq -r 'select(.type == \"text-delta\").delta'",
        ),
    )(run)
    group.command(
        "check",
        epilog=options.examples(
            "headrace template check letter.hr.md", "headrace template check letter.hr.md --json"
        ),
    )(check)
    group.command("graph", epilog=options.examples("headrace template graph letter.hr.md > letter.mmd"))(
        graph
    )
    group.command("flat", epilog=options.examples("headrace template flat letter.hr.md > whole.hr.md"))(flat)
    group.command("explain", epilog=options.examples("headrace template explain letter.hr.md"))(explain)
    kept = typer.Typer(no_args_is_help=True, help="Answers that are kept.", rich_markup_mode=None)
    kept.command(
        "clear",
        epilog=options.examples(
            "headrace template cache clear answers.db", "headrace template cache clear redis://localhost"
        ),
    )(clear)
    kept.callback()(_kept)
    group.add_typer(kept, name="cache")
    app.add_typer(group, name="template")


def _kept() -> None:
    """Answers that are kept."""


def run(
    file: File,
    model: options.Model = None,
    param: Params = None,
    include: Include = None,
    strict: Annotated[bool, typer.Option("--strict", help="A variable without a value is an error.")] = False,
    stop_at: Annotated[str | None, typer.Option(metavar="SLOT", help="End after this slot.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Show tokens as they come, on a terminal.")
    ] = True,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Ask again only what has changed.")
    ] = True,
    cache_file: CacheFile = None,
    cache_size: CacheSize = 64,
    pace: Annotated[
        bool, typer.Option("--pace", help="Kept answers come at the pace they came with, not at once.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Calls at the same time.")] = 8,
    json: options.Events = False,
) -> int:
    """Run a template: on a terminal its slots as they stream, then the answers as JSON on stdout."""
    template = load(file, include)
    given: dict[str, Any] = {
        "strict": strict,
        "stop_at": stop_at,
        "stream": stream,
        "cache": made_cache(cache, cache_file, cache_size),
        "pace": pace,
        "max_concurrency": concurrency,
    }
    inputs = params(param or [])
    with told():
        return asyncio.run(_run(template, model, inputs, given, json=json))


async def _run(
    template: Template, model: str | None, inputs: dict[str, Any], given: dict[str, Any], *, json: bool
) -> int:
    import contextlib

    import msgspec

    from headrace.cli import local, show, slots

    async with local.opened() as here:
        name = model or here.registry.default_model()
        lines = show.JsonLines() if json else None
        watched = not json and out.is_terminal(2) and given["stream"]
        async with template.stream(name, inputs, engine=here.engine, **given) as started:
            with contextlib.ExitStack() as stack:
                shown = stack.enter_context(slots.Slots(started.partial)) if watched else None
                async for batch in started.batches():
                    if lines is not None:
                        await lines.batch(batch)
                    elif shown is not None:
                        shown.batch(batch)
            end = started._end()
    found = end.result or {}
    code = show.ending(msgspec.structs.replace(end, finish_reason=None))
    for slot in dict.fromkeys(_cut(found.get("slots", {}))):
        out.note(f"note: {slot} was cut off at its limit of tokens ([[…|max_tokens=N]])", "warn")
    if not json:
        print(msgspec.json.format(msgspec.json.encode(found.get("values", {})), indent=2).decode())
        if found.get("early_termination"):
            out.note("ended early")
    return code


def _cut(slots: dict[str, Any]) -> list[str]:
    """Slots whose answer was cut off at the limit of tokens."""
    return [
        name
        for name, found in slots.items()
        for one in (found if isinstance(found, list) else [found])
        if one.get("finish_reason") == "length"
    ]


def check(file: File, param: Params = None, include: Include = None, json: options.Json = False) -> int:
    """Check a template: errors with line and column, slots, variables; with --param, also what is missing."""
    import msgspec

    from headrace.templates import describe, faults

    if json:
        if not file.is_file():
            raise typer.BadParameter(f"{file} is not there", param_hint="FILE")
        from headrace.templates.api import Template

        try:
            template = Template(file, include_paths=include or ())
        except faults.TemplateError as error:
            print(msgspec.json.encode(describe.wrong(error)).decode())
            return failures.WRONG_USE
    else:
        template = load(file, include)
    found = template.check(params(param) if param else None)
    if json:
        print(msgspec.json.encode(describe.describe(template.plan, found.errors)).decode())
    else:
        for slot in found.slots:
            print(f"slot      {slot.key}: {slot.type}")
        for name in found.variables:
            print(f"variable  {name}")
        for fault in found.errors:
            out.note(clean.clean(str(fault)), "error")
    return failures.WRONG_USE if found.errors else failures.DONE


def graph(file: File, include: Include = None) -> None:
    """The segments of a template and what they wait for, as a Mermaid flow chart."""
    print(load(file, include).graph(), end="")


def flat(file: File, include: Include = None) -> None:
    """The template with its includes put in."""
    print(load(file, include).flat(), end="")


def explain(file: File, include: Include = None) -> None:
    """What will be asked when, without asking."""
    print(load(file, include).explain(), end="")


def load(file: Path, include: list[Path] | None) -> Template:
    """The template of a file; its faults are shown, and end the command."""
    from headrace.templates.api import Template

    if not file.is_file():
        raise typer.BadParameter(f"{file} is not there", param_hint="FILE")
    with told():
        return Template(file, include_paths=include or ())


@contextmanager
def told() -> Iterator[None]:
    """Shows the faults of a template as a compiler would: `FILE:LINE:COLUMN: message`, the line, a caret."""
    from headrace.templates.faults import TemplateError

    try:
        yield
    except TemplateError as error:
        for fault in error.faults:
            out.note(clean.clean(str(fault)), "error")
        raise typer.Exit(failures.WRONG_USE) from error


def made_cache(wanted: bool, place: str | None, size: int) -> Any:
    """The cache that a command's options ask for."""
    if not wanted or place is None:
        return wanted
    from headrace.templates import caching

    return caching.Cache(caching.opened(place, size * 1024 * 1024))


def clear(
    place: Annotated[str, typer.Argument(metavar="FILE|URL", help="As --cache-file has it.")],
) -> None:
    """Forget all answers that are kept there."""
    from headrace.templates import caching

    if "://" not in place and not Path(place).is_file():
        raise typer.BadParameter(f"{place} is not there", param_hint="FILE|URL")
    out.note(f"{caching.opened(place).clear():,} answers forgotten", "good")


def params(given: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` as variables: JSON where it is JSON, else text; `@FILE` is a file's text."""
    import msgspec

    found: dict[str, Any] = {}
    for item in given:
        name, mark, value = item.partition("=")
        if not mark or not name.isidentifier():
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--param")
        if value.startswith("@"):
            try:
                found[name] = Path(value[1:]).read_text("utf-8")
            except (OSError, UnicodeError) as error:
                raise typer.BadParameter(
                    f"{value[1:]} cannot be read: {error}", param_hint="--param"
                ) from error
            continue
        try:
            found[name] = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError):
            found[name] = value
    return found
