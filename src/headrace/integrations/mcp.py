"""Tools of MCP servers, as tools of ours: listed once, called like any other; extra `mcp`.

    async with mcp.Server("files", command="uvx", arguments=["mcp-server-files", "."]) as server:
        await headrace.ask("openai:gpt-4o-mini", "What is here?", tools=server.tools)

A server is a program that is started here and spoken to over its stdin and stdout, or a URL (Streamable HTTP). Its
connection belongs to one task from its opening to its end. A server that dies is started again by the next call;
the call it died in is not made again. Tools are named `SERVER__TOOL`, so that two servers may have a `search` each.
Arguments are checked by the server's own schema before they are sent; progress becomes `status` events; an error of
the tool is told to the model in the server's words. What a server asks of its client (sampling, elicitation, roots)
is refused.

Specification: https://modelcontextprotocol.io. Next: `toolbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, TextIO, cast

import jsonschema
import jsonschema.validators
import pydantic
import pydantic_core
import structlog

from headrace import errors
from headrace.runs.tools import Approval, Tool, ToolContext, ToolError

try:
    import httpx2
    import mcp
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client
except ImportError as error:
    raise errors.MissingExtra("mcp", "tools of MCP servers") from error

log = structlog.get_logger("headrace.mcp")

MAX_TOOLS = 256
"""Tools of one server that are listed; one with more is refused, in words."""
_CONTEXT = "__context"
_MAX_NAME = 64  # what providers take
_LAST_WORDS = 2_000  # characters of a program's stderr in an error
_CLOSE_S = 5.0


class Server:
    """A connection to one MCP server, for the length of an `async with`.

    Args:
        name: stands before the names of its tools.
        command, arguments: the program to start, or
        url: where it listens.
        environment: variables for the program, added to PATH, HOME and the like; nothing else of ours is handed on.
        folder: the program's working directory.
        headers: sent with each request to `url`.
        only: the tools to take, by the server's names; default: all.
        approval: whether a person has to allow calls; see `Tool.approval`.
        timeout: seconds one call may take; None is no limit.
        connect_timeout: seconds until it must have told its tools.

    Attributes:
        tools: its tools, once it is open.

    Raises:
        errors.UsageError: neither or both of `command` and `url`.
    """

    def __init__(
        self,
        name: str,
        *,
        command: str | None = None,
        arguments: Sequence[str] = (),
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        headers: Mapping[str, str] | None = None,
        only: Sequence[str] | None = None,
        approval: Approval = False,
        timeout: float | None = 60.0,
        connect_timeout: float = 30.0,
    ) -> None:
        if (command is None) == (url is None):
            raise errors.UsageError(f"the MCP server {name!r} needs a command or a url, and not both")
        self.name = name
        self.tools: tuple[Tool, ...] = ()
        self._program = (
            mcp.StdioServerParameters(
                command=command, args=[*arguments], env=dict(environment or {}), cwd=folder
            )
            if command is not None
            else None
        )
        self._url, self._headers = url, dict(headers or {})
        self._only, self._approval, self._timeout = only, approval, timeout
        self._connect_timeout = connect_timeout
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Server:
        """Connect and list the tools.

        Raises:
            errors.RunError: `tool-failed`: it cannot be reached, or does not speak MCP; with what it said on stderr.
            errors.UsageError: a name in `only` is none of its tools.
        """
        try:
            async with asyncio.timeout(self._connect_timeout):
                listed = await self._list(await self._client())
        except TimeoutError as error:
            said = self._connection.last_words() if self._connection is not None else ""
            await self.__aexit__(None, None, None)
            raise self._failed(f"has not answered within {self._connect_timeout:g} s", said) from error
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        missing = sorted(set(self._only or ()) - {tool.name for tool in listed})
        if missing:
            await self.__aexit__(None, None, None)
            raise errors.UsageError(
                f"the MCP server {self.name!r} has no tool {', '.join(missing)}; it has "
                f"{', '.join(tool.name for tool in listed) or 'none'}"
            )
        self.tools = tuple(
            self._tool(tool) for tool in listed if self._only is None or tool.name in self._only
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection; a program of ours is stopped."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _client(self) -> mcp.Client:
        async with self._opening:
            if self._connection is None or self._connection.ended:
                if self._connection is not None:
                    log.warning("an MCP server has gone; connecting again", server=self.name)
                    await self._connection.close()
                self._connection = _Connection(self._transport)
            try:
                return await self._connection.client()
            except (Exception, asyncio.CancelledError) as error:
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                    raise
                raise self._failed(
                    f"cannot be reached: {_plain(error)}", self._connection.last_words()
                ) from error

    def _transport(self, stderr: TextIO) -> Any:
        if self._program is not None:
            return stdio_client(self._program, errlog=stderr)
        return _http(str(self._url), self._headers)

    def _failed(self, what: str, said: str = "") -> errors.RunError:
        words = f"; it said: {said}" if said else ""
        return errors.RunError(
            f"the MCP server {self.name!r} {what}{words}", code="tool-failed", details={"server": self.name}
        )

    async def _list(self, client: mcp.Client) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            if len(found) > MAX_TOOLS:
                raise self._failed(f"has more than {MAX_TOOLS} tools; name those you want")
            cursor = page.next_cursor
            if not cursor:
                return found

    def _tool(self, listed: Any) -> Tool:
        schema = dict(listed.input_schema)
        schema.pop("$schema", None)
        asked = listed.name

        async def call(**given: Any) -> Any:
            context: ToolContext = given.pop(_CONTEXT)
            return await self._call(asked, given, context)

        return Tool(
            name=re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.name}__{asked}")[:_MAX_NAME],
            description=listed.description or listed.title or "",
            parameters={"properties": {}, **schema},
            function=call,
            arguments=_arguments(schema),
            context=_CONTEXT,
            timeout=self._timeout,
            approval=self._approval,
        )

    async def _call(self, name: str, given: dict[str, Any], context: ToolContext) -> Any:
        async def progress(progress: float, total: float | None, message: str | None) -> None:
            context.status(message or f"{name}: {progress:g}" + (f" of {total:g}" if total else ""))

        client = await self._client()
        try:
            result = await client.call_tool(name, given, progress_callback=progress)
        except mcp.MCPError as error:
            # Not called again: nobody can tell whether it was done.
            raise ToolError(f"the MCP server {self.name!r} says: {error}") from error
        value = _value(result)
        if result.is_error:
            raise ToolError(value if isinstance(value, str) else str(value))
        return value


class _Connection:
    """One connection, in a task of its own: what the library opens has to be closed where it was opened."""

    def __init__(self, transport: Callable[[TextIO], Any]) -> None:
        self._ready: asyncio.Future[mcp.Client] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._stderr = cast(TextIO, tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))  # noqa: SIM115
        self._task = asyncio.create_task(self._hold(transport), name="mcp connection")

    async def _hold(self, transport: Callable[[TextIO], Any]) -> None:
        try:
            async with mcp.Client(_watched(transport(self._stderr), self._stop)) as client:
                self._ready.set_result(client)
                await self._stop.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
            self._ready.exception()  # it is the caller's, who may have gone

    async def client(self) -> mcp.Client:
        """The client, once it is connected; raises what kept it from it."""
        return await asyncio.shield(self._ready)

    @property
    def ended(self) -> bool:
        """Whether it is of no more use."""
        return self._stop.is_set() or self._task.done()

    def last_words(self) -> str:
        """The end of what the program wrote to its stderr."""
        if self._stderr.closed:
            return ""
        self._stderr.seek(0)
        return self._stderr.read()[-_LAST_WORDS:].strip()

    async def close(self) -> None:
        """Close it and wait; by force where it does not end."""
        self._stop.set()
        if not self._ready.done():
            self._task.cancel()
        _, late = await asyncio.wait([self._task], timeout=_CLOSE_S)
        for task in late:
            task.cancel()
            await asyncio.wait([task], timeout=_CLOSE_S)
        if self._task.done() and not self._task.cancelled() and self._task.exception() is not None:
            log.debug("an MCP connection ended badly", error=repr(self._task.exception()))
        self._stderr.close()


@contextlib.asynccontextmanager
async def _watched(transport: Any, ended: asyncio.Event) -> Any:
    """A transport whose reading end tells when the other side is gone: the library itself does not."""
    async with transport as (read, write):
        yield _Read(read, ended), write


class _Read:
    """A stream of messages that sets an event at its end."""

    def __init__(self, inner: Any, ended: asyncio.Event) -> None:
        self._inner, self._ended = inner, ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._inner.__anext__()
        except StopAsyncIteration:
            self._ended.set()
            raise

    async def receive(self) -> Any:
        try:
            return await self._inner.receive()
        except Exception:
            self._ended.set()
            raise

    async def __aenter__(self) -> _Read:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> Any:
        return await self._inner.__aexit__(*raised)


@contextlib.asynccontextmanager
async def _http(url: str, headers: dict[str, str]) -> Any:
    patience = httpx2.Timeout(30.0, read=300.0)  # a server may hold a response open
    async with httpx2.AsyncClient(headers=headers, timeout=patience) as client:
        async with streamable_http_client(url, http_client=client) as streams:
            yield streams


def _arguments(schema: dict[str, Any]) -> pydantic.TypeAdapter[Any]:
    """Checks arguments by the server's own schema; a schema that is none is not held against the model."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        log.warning("an MCP server has a tool with a schema that is none", error=error.message)
        return pydantic.TypeAdapter(dict[str, Any])
    validator = kind(schema)

    def check(given: dict[str, Any]) -> dict[str, Any]:
        wrong = sorted(validator.iter_errors(given), key=lambda error: [*map(str, error.path)])[:20]
        if wrong:
            words = "; ".join(f"{'.'.join(map(str, e.path)) or 'arguments'}: {e.message}" for e in wrong)
            raise pydantic_core.PydanticCustomError("schema", "{words}", {"words": words})
        return given

    return pydantic.TypeAdapter(Annotated[dict[str, Any], pydantic.AfterValidator(check)])


def _value(result: Any) -> Any:
    """A result as one value: its structured form where it has one, else its texts; other content by a word each."""
    if result.structured_content is not None and not result.is_error:
        value = result.structured_content
        # a server that returns no object has it wrapped, under this one key
        return value["result"] if isinstance(value, dict) and value.keys() == {"result"} else value
    parts: list[str] = []
    for part in result.content:
        if part.type == "text":
            parts.append(part.text)
        elif part.type == "resource":
            text = getattr(part.resource, "text", None)
            parts.append(text if text is not None else f"[resource {part.resource.uri}]")
        elif part.type == "resource_link":
            parts.append(f"[{part.name}: {part.uri}]")
        else:
            parts.append(f"[{part.type}, {part.mime_type}, {len(part.data) * 3 // 4:,} bytes]")
    return "\n".join(parts)


def _plain(error: BaseException) -> str:
    """The first real error of a group, in words."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
