"""`headrace doctor`: what is wrong here, and what to do about it. Each check is one function that yields findings.

A finding is good, worth knowing, or wrong; something wrong makes the exit code 1. Checks change nothing, but for
two short runs of the demo when a server is asked. Next: `bench`.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from headrace import errors
from headrace.cli import clean, failures, options, out

if TYPE_CHECKING:
    from headrace.settings import Settings

_PATIENCE_S = 3.0
_VERIFIED_BYTES = 64 * 1024 * 1024  # larger ledgers are left to `headrace ledger verify`
_EXTRAS = {"local": "xllamacpp", "litellm": "litellm", "otel": "opentelemetry-api"}
_ALWAYS = ("demo", "local", "replay")  # answer without being set up
_SIGNS = {"good": "✓", "know": "·", "wrong": "✗"}
_STYLE = {"good": "good", "know": "dim", "wrong": "error"}


class Finding(NamedTuple):
    """One thing that was looked at: `state` is good, know or wrong; `advice` says what to do."""

    state: str
    about: str
    what: str
    advice: tuple[str, ...] = ()


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "doctor",
        epilog=options.examples(
            "headrace doctor",
            "headrace doctor --url https://chat.example.com --key SECRET",
            "headrace doctor --url https://chat.example.com --heartbeat",
        ),
    )(doctor)


def doctor(
    url: options.Url = None,
    key: options.Key = None,
    heartbeat: bool = typer.Option(
        False, "--heartbeat", help="Also wait for a heartbeat of the server, up to 20 seconds."
    ),
    json: options.Json = False,
) -> int:
    """Check the installation, the settings, the ledger, the providers and a running server.

    With a server: a run of the demo is streamed through the URL, and it is measured whether a proxy in between
    buffers or compresses. Exits 1 when something is wrong.
    """
    wrong = asyncio.run(_doctor(url, key, heartbeat, json))
    if wrong and not json:
        out.note(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong", "warn")
    return failures.FAILED if wrong else failures.DONE


async def _doctor(url: str | None, key: str | None, heartbeat: bool, json: bool) -> int:
    wrong = 0
    async for finding in _all(url, key, heartbeat):
        wrong += finding.state == "wrong"
        if json:
            import msgspec

            out.line(msgspec.json.encode(finding._asdict()).decode())
        else:
            _show(finding)
    return wrong


def _show(finding: Finding) -> None:
    sign = out.style(_SIGNS[finding.state], _STYLE[finding.state])
    sys.stdout.write(f"{sign} {finding.about:9} {clean.line(finding.what)}\n")
    for line in finding.advice:
        sys.stdout.write(f"{'':12}{out.style('→ ' + clean.line(line), 'dim')}\n")
    sys.stdout.flush()


async def _all(url: str | None, key: str | None, heartbeat: bool) -> AsyncIterator[Finding]:
    for finding in _installation():
        yield finding
    from headrace import settings

    try:
        chosen = settings.load(**({"url": url} if url else {}))
    except errors.HeadraceError as error:
        yield Finding("wrong", "settings", error.message)
        return
    for finding in _settings(chosen):
        yield finding
    async for finding in _ledger(chosen):
        yield finding
    async for finding in _providers():
        yield finding
    if key is None and chosen.api_keys:
        key = chosen.api_keys[0].get_secret_value()
    named = url is not None or settings.origin("url") is not None
    async for finding in _server(chosen.url, key, named, heartbeat):
        yield finding


def _installation() -> Iterator[Finding]:
    import headrace

    here = f"Python {platform.python_version()} on {platform.platform(terse=True)}"
    yield Finding("good", "python", f"headrace {headrace.__version__}, {here}")
    there, missing = [], []
    for extra, package in _EXTRAS.items():
        try:
            there.append(f"{extra} ({package} {importlib.metadata.version(package)})")
        except importlib.metadata.PackageNotFoundError:
            missing.append(extra)
    words = [f"installed: {', '.join(there)}"] if there else []
    words += [f"not installed: {', '.join(missing)}"] if missing else []
    yield Finding("know", "extras", "; ".join(words))
    if importlib.util.find_spec("lupa") is not None:
        yield _walls()


def _walls() -> Finding:
    """What keeps a procedure's program in, beside its limits."""
    import subprocess

    from headrace.procedures import sandbox

    try:
        standing = sandbox.walls()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("wrong", "procedures", f"a program's process could not be started: {error}")
    missing = [wall for wall in ("network namespace", "system calls") if wall not in standing]
    if not missing:
        return Finding("good", "procedures", "programs have no network of their own and few system calls")
    return Finding(
        "know", "procedures",
        f"programs run without these walls of the kernel's: {', '.join(missing)}; they have "
        "no environment and no open files, and limits keep them in",
    )  # fmt: skip


def _settings(chosen: Settings) -> Iterator[Finding]:
    from headrace import settings

    found = 0
    for name in type(chosen).model_fields:
        place = settings.origin(name)
        if place is not None:
            found += 1
            yield Finding("good", "settings", f"{name} = {_shown(getattr(chosen, name))}, from {place}")
    if not found:
        yield Finding("know", "settings", "none is set: everything has its default")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(value)
    if isinstance(value, tuple):
        return f"{len(value)} of them"
    return str(value)  # secrets print as stars


async def _ledger(chosen: Settings) -> AsyncIterator[Finding]:
    from headrace import ledger

    if chosen.store.startswith(("postgresql://", "postgres://")):
        async for finding in _postgres(chosen.store):
            yield finding
        return
    if not chosen.store.startswith("sqlite:///"):
        yield Finding("know", "ledger", f"{chosen.store}: not looked into")
        return
    path = Path(chosen.store.removeprefix("sqlite:///"))
    size = _size(path)
    if size is None:
        yield _no_ledger(path)
        return
    try:
        await ledger.open_ledger(chosen.store).close()
        if size > _VERIFIED_BYTES:
            advice = ("headrace ledger verify",)
            yield Finding("good", "ledger", f"{path} can be written; not verified, it is large", advice)
            return
        report = await ledger.verify_ledger(chosen.store)
    except errors.HeadraceError as error:
        yield Finding("wrong", "ledger", error.message, ("headrace ledger verify names what is damaged",))
        return
    if report.ok:
        held = f"{report.facts} facts, {report.open_runs} open runs"
        yield Finding("good", "ledger", f"{path} can be written and verifies: {held}")
    else:
        first = report.problems[0]
        what = f"{path} does not verify: {first.conversation} {first.seq}: {first.what}"
        yield Finding("wrong", "ledger", what, ("headrace ledger verify names every row",))


async def _postgres(url: str) -> AsyncIterator[Finding]:
    """Whether the server is there, and the ledger. It is neither made nor verified: it may be large."""
    from headrace.ledger import postgres_link

    try:
        shown = postgres_link.parse(url).shown
        (await postgres_link.existing(postgres_link.parse(url))).terminate()
    except errors.HeadraceError as error:
        missing = error.details.get("missing", False)
        yield Finding("good" if missing else "wrong", "ledger", error.message)
    else:
        yield Finding("good", "ledger", f"{shown} is there; not verified", ("headrace ledger verify",))


def _size(path: Path) -> int | None:
    """Bytes of the file; None where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _no_ledger(path: Path) -> Finding:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("good", "ledger", f"{path} is not there yet; it will be made when a server runs")
    what = f"{path} cannot be made: {folder} is not writable"
    return Finding("wrong", "ledger", what, ("set HEADRACE_STORE to a place that is",))


async def _providers() -> AsyncIterator[Finding]:
    from headrace.cli import models

    default, rows = await models.listed(_PATIENCE_S)
    ready = False
    for row in rows:
        known, listing = row.known, row.listing
        if known.name in _ALWAYS and known.name != "demo":
            continue
        if listing is not None and listing.error is None:
            count = f"{len(listing.models)} models" if listing.models else "answers"
            ready = ready or known.name != "demo"
            yield Finding(
                "good",
                "provider",
                f"{known.name}: {count}" + (f" at {known.base_url}" if known.base_url else ""),
            )
        elif row.configured and listing is not None and listing.error is not None:
            advice = f"check {known.variable}" if known.variable else "check its settings"
            yield Finding("wrong", "provider", f"{known.name}: {listing.error.message}", (advice,))
    if not ready:
        yield Finding(
            "know", "provider", "no model is set up, so `demo`, the scripted guide, answers",
            ("set a key (headrace models --all names the variables), or run ollama",),
        )  # fmt: skip
    yield Finding("good", "model", f"the default is {default}")


async def _server(url: str, key: str | None, named: bool, heartbeat: bool) -> AsyncIterator[Finding]:
    from headrace.cli import between

    try:
        state = await between.alive(url, key)
    except errors.HeadraceError as error:
        if named:
            yield Finding("wrong", "server", error.message, ("is it running? headrace serve",))
        else:
            yield Finding("know", "server", f"none is running at {url} (headrace serve starts one)")
        return
    yield Finding("good", "server", f"{url} is {state}")
    try:
        found = [("stream", await between.stream(url, key))]
        if heartbeat:
            found.append(("heartbeat", await between.heartbeat(url, key)))
    except errors.HeadraceError as error:
        advice = ("give a key with --key",) if error.code == "unauthorized" else ()
        yield Finding("wrong", "stream", error.message, advice)
        return
    for about, result in found:
        for fact in result.facts:
            yield Finding("know", about, fact)
        if result.problems:
            what = {
                "buffers": "something between here and the server buffers the stream",
                "compresses": "something between here and the server compresses the stream",
                "changes-headers": "something between here and the server changes the headers of the stream",
                "drops-heartbeats": "heartbeats do not come through, so silent runs will be cut off",
            }
            yield Finding("wrong", about, "; ".join(what[p] for p in result.problems), tuple(result.advice))
        else:
            yield Finding(
                "good", about, "comes through as it is written" if about == "stream" else "comes through"
            )
