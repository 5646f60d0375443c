"""`headrace procedure`: run, check and test Lua procedures in this process.

`run` streams: who speaks, the text as it comes, tool calls, a line with tokens, cost and times a turn. Questions to
people are asked at the terminal. With a store, the run can be gone on with after it was stopped: `--resume`. Next:
`procedure_show`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from headrace import errors
from headrace.cli import failures, options, out

if TYPE_CHECKING:
    from headrace.cli.procedure_show import Show
    from headrace.procedures.api import Procedure, ProcedureRun
    from headrace.procedures.host import Declared
    from headrace.settings import Settings

_group = typer.Typer(
    no_args_is_help=True, help="Run, check and test Lua procedures.", rich_markup_mode=None,
    epilog=options.examples("headrace procedure run story.tac --param topic=rivers"),
)  # fmt: skip
_File = Annotated[Path, typer.Argument(metavar="FILE", help="The program, .tac or .lua.")]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_group, name="procedure")


@_group.command(
    "run",
    epilog=options.examples(
        "headrace procedure run story.tac --param topic=rivers",
        "headrace procedure run story.tac --json | jq .type",
        "headrace procedure run story.tac --store sqlite:///runs.db --resume run_01JD…",
    ),
)
def run(
    file: _File,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="K=V", help="An input; may be repeated.")
    ] = None,
    model: options.Model = None,
    tool: options.Tools = None,
    json: options.Events = False,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run; nothing is done twice.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="Keep the run here, so that it can be gone on with.")
    ] = None,
) -> int:
    """Run a procedure and stream what its agents say.

    The text goes to stdout as it comes; names, tool calls and costs go to stderr. The result is the last line on
    stdout. Exits 1 when the program fails.
    """
    if resume and not store:
        raise typer.BadParameter("needs --store: where the run was kept", param_hint="--resume")
    return asyncio.run(_run(_read(file), param or [], model, tool or [], json, resume, store))


@_group.command(
    "check",
    epilog=options.examples(
        "headrace procedure check story.tac", "headrace procedure check story.tac --tool mcp:files"
    ),
)
def check(file: _File, tool: options.Tools = None) -> int:
    """Check syntax, names, fields, agents and tools. No model is called, and nothing is done.

    Says all that it finds, each with its line. Exits 1 when something is wrong.
    """
    declared = asyncio.run(_checked(_read(file), tool or []))
    if declared is None:
        return failures.FAILED
    inputs = ", ".join(f"{name} ({field.kind})" for name, field in (declared.inputs or {}).items())
    out.line(f"{file}: fine")
    out.note(
        f"inputs: {inputs or 'none'}; agents: "
        f"{', '.join(agent.config.model or 'default model' for agent in declared.agents.values()) or 'none'}"
    )
    return failures.DONE


@_group.command("test", epilog=options.examples("headrace procedure test story.tac"))
def test(file: _File) -> int:
    """Run the scenarios of a program's Specification, its Mocks in the place of models.

    Exits 1 when one fails.
    """
    from headrace.procedures import specification

    procedure = _read(file)
    if asyncio.run(_declared(procedure)) is None:
        return failures.FAILED
    outcomes = asyncio.run(specification.test(procedure))
    for outcome in outcomes:
        out.line(f"{'failed' if outcome.problem else 'passed'}  {outcome.name}")
        if outcome.problem:
            out.line(f"        {outcome.problem}")
    if not outcomes:
        out.note(f"{file} has no Specification")
    return failures.FAILED if any(outcome.problem for outcome in outcomes) else failures.DONE


def _read(file: Path) -> Procedure:
    from headrace import settings
    from headrace.procedures import api
    from headrace.procedures.sandbox import Limits

    chosen = settings.load()
    limits = Limits(
        wall_s=chosen.procedure_wall_s, cpu_s=chosen.procedure_cpu_s, memory_mb=chosen.procedure_memory_mb
    )
    return api.Procedure.from_file(file, limits=limits)


async def _checked(procedure: Procedure, tools: list[str]) -> Declared | None:
    from headrace import settings
    from headrace.integrations import toolbox

    chosen = settings.load()
    async with toolbox.opened(_named(procedure, tools, chosen), chosen) as found:
        procedure.extras = msgspec.structs.replace(procedure.extras, tools=found)
        return await _declared(procedure, explore=True)


def _named(procedure: Procedure, tools: list[str], chosen: Settings) -> list[str]:
    """The tools asked for, and the MCP servers of the settings whose tools the program names (`files__read`)."""
    asked = {tool.partition("/")[0] for tool in tools}
    text = procedure.source.text
    more = [f"mcp:{name}" for name in chosen.mcp if f"{name}__" in text]
    return tools + [server for server in more if server not in asked]


async def _declared(procedure: Procedure, *, explore: bool = False) -> Declared | None:
    """What the program declares; None when it is wrong, which has been said."""
    try:
        return await procedure.check(explore=explore)
    except errors.UsageError as error:
        if error.code != "procedure-error":
            raise
        for line in error.message.split("\n") if "problems" in error.details else [error.message]:
            failures.say(error.code, line)
        return None


async def _run(
    procedure: Procedure,
    params: list[str],
    model: str | None,
    tools: list[str],
    json: bool,
    resume: str | None,
    store: str | None,
) -> int:
    from headrace import settings
    from headrace.cli import local, procedure_show
    from headrace.integrations import toolbox
    from headrace.ledger import registry
    from headrace.procedures import api, fields

    given: dict[str, str] = {}
    for item in params:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{item!r} is not of the form NAME=VALUE", param_hint="--param")
        given[name] = value
    inputs: dict[str, Any] = {}
    chosen = settings.load()
    tools = _named(procedure, tools, chosen)
    async with toolbox.opened(tools, chosen) as found, local.opened(chosen) as here:
        procedure.extras = msgspec.structs.replace(procedure.extras, tools=found)
        if not resume:
            declared = await _declared(procedure)
            if declared is None:
                return failures.FAILED
            known = declared.inputs or {}
            inputs = fields.check(known, fields.from_text(known, given), "input")
        here.engine.ledger = registry.open_ledger(store) if store else None
        if here.engine.ledger is not None:
            await here.engine.ledger.recover()
        if resume:
            active = await api.resume(here.engine, resume, procedure.extras, text=procedure.source.text)
            running = api.ProcedureRun(here.engine, active)
        else:
            stream = procedure.stream(inputs, model=model, engine=here.engine)
            running = await stream.start()
        if store and not json:
            out.note(f"run {running.id}")
        return await _follow(running, procedure_show.Show(json=json), json)


async def _follow(running: ProcedureRun, show: Show, json: bool) -> int:
    from headrace import events
    from headrace.cli import procedure_show

    answering: set[asyncio.Task[None]] = set()
    end: events.RunEnd | None = None
    async with running:
        async for batch in running.batches():
            await show.batch(batch)
            for event in batch:
                if isinstance(event, events.HumanRequest) and event.kind != "notify" and not json:
                    task = asyncio.create_task(procedure_show.answer(running, event))
                    answering.add(task)
                    task.add_done_callback(answering.discard)
                elif isinstance(event, events.RunEnd):
                    end = event
        for task in answering:
            task.cancel()
    assert end is not None
    return await show.ending(end)
