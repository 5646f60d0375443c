"""What clients send: JSON bodies in, run specs out. Pure.

An unknown key is refused by name rather than passed over, because a misspelt option that does nothing is
found out late. Sizes are bounded here, one constant or setting each. Next: `service`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from headrace import errors, messages
from headrace.providers.base import Timeouts
from headrace.runs.spec import Failover, OnDisconnect, RunSpec

if TYPE_CHECKING:
    from headrace.outputs.shape import Shape

MAX_MESSAGES = 4096
MAX_TOOLS = 256
MAX_FALLBACKS = 16
MAX_METADATA_BYTES = 16 * 1024
MAX_KEY = 255
MAX_DEPTH = 64
"""Of lists and objects in one another: what is deeper cannot be written to every store and read again."""

_CONVERSATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z")
_Seconds = Annotated[float, Meta(gt=0, le=604_800)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class TimeoutsBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Seconds; null is no limit."""

    connect: _Seconds | msgspec.UnsetType | None = msgspec.UNSET
    first_chunk: _Seconds | msgspec.UnsetType | None = msgspec.UNSET
    stall: _Seconds | msgspec.UnsetType | None = msgspec.UNSET
    total: _Seconds | msgspec.UnsetType | None = msgspec.UNSET


class RunBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/runs`."""

    model: Annotated[_Name | None, Meta(description="`provider:model`; default: the server's model")] = None
    input: Annotated[str | None, Meta(description="What the user says. Either this or `messages`")] = None
    messages: Annotated[
        list[dict[str, Any]] | None,
        Meta(description="The conversation so far, as OpenAI's Chat Completions has it"),
    ] = None
    system: Annotated[
        str | None, Meta(description="A text put before the messages, as their system message")
    ] = None
    conversation: Annotated[
        str | None,
        Meta(description="A conversation of yours; with `input`, its turns so far are sent along"),
    ] = None
    memory: Annotated[
        bool,
        Meta(
            description="With `input` and `conversation`: the turn is told what the conversation adds up to, and "
            "marker lines of the answer become facts"
        ),
    ] = False
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    reasoning_effort: Annotated[str, Meta(max_length=32)] | None = None
    output_schema: Annotated[
        dict[str, Any] | None, Meta(description="A JSON Schema that the answer has to fit; it is checked")
    ] = None
    output_retries: Annotated[
        int, Meta(ge=0, le=10, description="How often an answer that does not fit is asked for again")
    ] = 2
    tools: Annotated[
        list[dict[str, Any] | str],
        Meta(
            max_length=MAX_TOOLS,
            description="Tools that you run, in OpenAI's function form, and names of tools that the server runs",
        ),
    ] = []
    max_rounds: Annotated[
        int, Meta(ge=1, le=100, description="Calls of the model at most, where the server runs tools")
    ] = 8
    tool_choice: str | dict[str, Any] | None = None
    fallbacks: Annotated[
        list[_Name], Meta(max_length=MAX_FALLBACKS, description="Models to go on with when `model` fails")
    ] = []
    failover: Annotated[
        Failover,
        Meta(description="`restart` takes back what was shown, `continue` goes on from it"),
    ] = "restart"
    on_disconnect: Annotated[
        OnDisconnect,
        Meta(description="What a run does when nobody reads it: `grace`, `continue` or `cancel`"),
    ] = "grace"
    grace: Annotated[
        Annotated[float, Meta(ge=0, le=604_800)] | None, Meta(description="Seconds of `grace`")
    ] = None
    deadline: Annotated[_Seconds | None, Meta(description="Seconds the whole run may take")] = None
    timeouts: TimeoutsBody | None = None
    metadata: Annotated[dict[str, Any], Meta(description="Yours; kept with the run, 16 KB at most")] = {}
    options: Annotated[dict[str, Any], Meta(description="Passed to the provider as they are")] = {}
    stream: Annotated[bool, Meta(description="false asks the provider without streaming")] = True
    template: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="A template's text, or the name of one of the server's, instead of `input` or `messages`"
        ),
    ] = None
    inputs: Annotated[
        dict[str, Any],
        Meta(description="What a template or a procedure is given; data only"),
    ] = {}
    strict: Annotated[bool, Meta(description="A variable of the template without a value is an error")] = (
        False
    )
    stop_at: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        Meta(description="The slot of the template after which the run ends"),
    ] = None
    cache: Annotated[bool, Meta(description="false asks for every slot of the template anew")] = True
    max_concurrency: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | None, Meta(description="Calls of the template at the same time")
    ] = None
    procedure: Any = msgspec.UNSET


class ResponseBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/runs/{run}/responses/{request}`."""

    value: Any


_run_decoder = msgspec.json.Decoder(RunBody)
_response_decoder = msgspec.json.Decoder(ResponseBody)


def parse_run(data: bytes) -> RunBody:
    """Read the body of `POST /v1/runs`.

    Raises:
        errors.UsageError: `bad-request`, naming the key.
    """
    body: RunBody = decoded(_run_decoder, data)
    if body.procedure is not msgspec.UNSET:
        if body.input is not None or body.messages is not None or body.template is not None:
            raise bad("procedure", "takes 'inputs', and none of 'input', 'messages' and 'template'")
    else:
        if (body.input is not None) + (body.messages is not None) + (body.template is not None) != 1:
            raise bad("input", "or 'messages' or 'template' must be there, and only one of them")
        _check_template(body)
    if body.memory and (body.input is None or body.conversation is None):
        raise bad("memory", "goes with 'input' and 'conversation'")
    if body.memory and body.output_schema is not None:
        raise bad("memory", "does not go with 'output_schema': its turns are talk")
    if body.input == "":
        raise bad("input", "is empty")
    if body.messages is not None and len(body.messages) > MAX_MESSAGES:
        raise too_large("messages", len(body.messages), MAX_MESSAGES, "messages")
    for name in ("inputs", "metadata", "options", "output_schema", "messages", "tools", "tool_choice"):
        check_depth(name, getattr(body, name))
    size = len(msgspec.json.encode(body.metadata)) if body.metadata else 0
    if size > MAX_METADATA_BYTES:
        raise too_large("metadata", size, MAX_METADATA_BYTES, "bytes")
    if body.conversation is not None:
        check_conversation(body.conversation)
    return body


def _check_template(body: RunBody) -> None:
    """Refuse what goes with a template only, and what does not go with one."""
    if body.template is None:
        for name in ("inputs", "strict", "stop_at", "max_concurrency"):
            if getattr(body, name):
                raise bad(
                    name,
                    "goes with a 'template' only"
                    if name != "inputs"
                    else "goes with a 'template' or a 'procedure'",
                )
        return
    for name in ("system", "tools", "tool_choice", "output_schema"):
        if getattr(body, name):
            raise bad(name, "does not go with a 'template'; write it into the template")


def parse_response(data: bytes) -> Any:
    """Read the answer to a question of a run's.

    Raises:
        errors.UsageError: `bad-request`.
    """
    body: ResponseBody = decoded(_response_decoder, data)
    check_depth("value", body.value)
    return body.value


def spec_of(
    body: RunBody,
    *,
    default_model: str,
    history: tuple[messages.Message, ...] = (),
    max_prompt_chars: int,
    timeouts: Timeouts,
    tools: Mapping[str, messages.ToolSpec] = {},
    owner: str = "",
    idempotency_key: str | None = None,
    fingerprint: str | None = None,
    check_output: bool = True,
) -> RunSpec:
    """The run that a body asks for.

    Args:
        check_output: False only passes `output_schema` on to the provider: the client checks.
        history: the turns so far, put before `input` or `messages`.
        max_prompt_chars: of all messages together.
        timeouts: what holds where the body says nothing.
        tools: those that can be asked for by name.

    Raises:
        errors.UsageError: `bad-request`, `too-large`.
    """
    if body.template is not None:
        thread: tuple[messages.Message, ...] = (messages.user(body.template),)
    elif body.messages is not None:
        thread = (*history, *messages.parse_messages(body.messages))
    else:
        thread = (*history, messages.user(body.input or ""))
    if body.system is not None:
        thread = (messages.system(body.system), *thread)
    check_prompt(thread, max_prompt_chars)
    return RunSpec(
        model=body.model or default_model,
        messages=thread,
        kind="template" if body.template is not None else "chat" if body.conversation else "answer",
        tools=_tools(body.tools, tools),
        max_rounds=body.max_rounds,
        tool_choice=_tool_choice(body.tool_choice),
        output=_shape(body.output_schema) if check_output else None,
        output_retries=body.output_retries,
        output_schema=None if check_output else body.output_schema,
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_tokens,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        reasoning_effort=body.reasoning_effort,
        options=body.options,
        stream=body.stream,
        fallbacks=tuple(body.fallbacks),
        failover=body.failover,
        timeouts=_timeouts(body.timeouts, timeouts),
        on_disconnect=body.on_disconnect,
        grace_s=body.grace,
        deadline_s=body.deadline,
        metadata=body.metadata,
        conversation=body.conversation,
        owner=owner,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
    )


def _shape(schema: dict[str, Any] | None) -> Shape | None:
    if schema is None:
        return None
    from headrace.outputs import shape  # loads the validators, which most servers do without

    try:
        return shape.Shape.of(schema)
    except errors.UsageError as error:
        where = f"output_schema{error.details.get('path', '')}"
        raise errors.UsageError(
            error.message.replace("output:", "output_schema:", 1),
            code="bad-request",
            details={"where": where},
        ) from error


def check_prompt(thread: tuple[messages.Message, ...], limit: int) -> None:
    """Refuse messages that are too long together.

    Raises:
        errors.UsageError: `too-large`.
    """
    size = sum(
        len(getattr(part, "text", "") or getattr(part, "content", "")) for m in thread for part in m.parts
    )
    if size > limit:
        raise too_large("messages", size, limit, "characters")


def check_depth(where: str, value: Any) -> None:
    """Refuse lists and objects that are too deep in one another.

    Raises:
        errors.UsageError: `bad-request`.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inside = [item for item in level if isinstance(item, dict | list)]
        if not inside:
            return
        level = [more for item in inside for more in (item.values() if isinstance(item, dict) else item)]
    raise bad(where, f"is nested more than {MAX_DEPTH} deep")


def check_conversation(name: str) -> None:
    """Refuse a conversation id that cannot be one.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if not _CONVERSATION.match(name):
        raise bad("conversation", "must be 1 to 128 letters, digits and . _ : @ -, a letter or digit first")


def check_key(key: str | None) -> str | None:
    """An `Idempotency-Key` as it is, None for none.

    Raises:
        errors.UsageError: `bad-request`.
    """
    if key is None:
        return None
    if not key or len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        raise bad("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")
    return key


def bad(where: str, what: str) -> errors.UsageError:
    """The error for one key of a request."""
    return errors.UsageError(f"{where} {what}", code="bad-request", details={"where": where})


def too_large(where: str, size: int, limit: int, unit: str) -> errors.UsageError:
    """The error for a part of a request that is too large."""
    return errors.UsageError(
        f"{where}: {size:,} {unit} are too many; the limit is {limit:,}",
        code="too-large",
        details={"where": where, "limit": limit},
    )


def bad_json(error: msgspec.DecodeError) -> errors.UsageError:
    """The error for a body that is not the JSON we want."""
    what = str(error)
    if isinstance(error, msgspec.ValidationError):
        found = re.search(r"unknown field `(.*?)`", what)
        where = found[1] if found else (re.search(r"`\$\.?([^`]*)`", what) or [what, "body"])[1]
        known = f"; there are {', '.join(_FIELDS)}" if found and found[1] not in _FIELDS else ""
        return errors.UsageError(
            f"the body does not fit: {what}{known}", code="bad-request", details={"where": where or "body"}
        )
    return errors.UsageError(f"the body is not JSON: {what}", code="bad-request", details={"where": "body"})


_FIELDS = sorted(set(RunBody.__struct_fields__) - {"procedure"})


def decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    """A body, read.

    Raises:
        errors.UsageError: `bad-request`, naming the key.
    """
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise bad_json(error) from error
    except RecursionError as error:
        raise bad("body", f"is nested more than {MAX_DEPTH} deep") from error


def _tools(
    raw: list[dict[str, Any] | str], known: Mapping[str, messages.ToolSpec]
) -> tuple[messages.ToolSpec, ...]:
    made: dict[str, messages.ToolSpec] = {}
    for i, item in enumerate(raw):
        tool = _tool(item, f"tools[{i}]", known)
        if tool.name in made:
            raise bad(f"tools[{i}]", f"has the name of another, {tool.name!r}")
        made[tool.name] = tool
    return tuple(made.values())


def _tool(raw: dict[str, Any] | str, where: str, known: Mapping[str, messages.ToolSpec]) -> messages.ToolSpec:
    if isinstance(raw, str):
        if raw in known:
            return known[raw]
        there = (
            f"there are {', '.join(sorted(known))}" if known else "no tools are registered with this server"
        )
        raise bad(where, f"names {raw[:80]!r}, but {there}; send its function form")
    function = raw.get("function", raw) if raw.get("type", "function") == "function" else None
    if not isinstance(function, dict):
        raise bad(where, "must be of the form {'type': 'function', 'function': {'name', 'parameters'}}")
    try:
        tool = msgspec.convert(function, messages.ToolSpec)
    except msgspec.ValidationError as error:
        raise bad(where, f"does not fit: {error}") from error
    if not tool.name:
        raise bad(where, "has no name")
    return tool


def _tool_choice(raw: str | dict[str, Any] | None) -> str | None:
    if raw is None or isinstance(raw, str):
        return raw
    function = raw.get("function", raw)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise bad("tool_choice", "must be auto, none, required, or name a function")
    return name


def _timeouts(raw: TimeoutsBody | None, defaults: Timeouts) -> Timeouts:
    if raw is None:
        return defaults
    given = {
        name: value for name in raw.__struct_fields__ if (value := getattr(raw, name)) is not msgspec.UNSET
    }
    return msgspec.structs.replace(defaults, **given)
