"""The JSON of events: encode, decode, and the JSON Schema; what is unknown survives.

Decoding takes one typed msgspec decoder that refuses unknown keys and types (the structs are declared
so). Only when it refuses is the object read as a plain mapping: its known keys make the event, and every
key that would not be encoded again as it came is kept in `extra`. So a newer server's events pass through
an older client unchanged, and the usual event pays nothing for it. Next: `protocol`.
"""

from __future__ import annotations

from typing import Any, Union

import msgspec

from headrace import errors
from headrace.events import values
from headrace.messages import Usage

_encoder = msgspec.json.Encoder()
_typed: msgspec.json.Decoder[values.Event] = msgspec.json.Decoder(Union[values.KNOWN])  # noqa: UP007
_plain = msgspec.json.Decoder(dict[str, Any])
# What msgspec raises for bytes that are not JSON (the last: nested too deep).
_NOT_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)
_BY_TAG: dict[str, type[values.Event]] = {str(cls.__struct_config__.tag): cls for cls in values.KNOWN}
_NESTED: dict[str, type[msgspec.Struct]] = {"usage": Usage, "error": values.ErrorInfo}


def encode(event: values.Event) -> bytes:
    """The event as one JSON object, UTF-8. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        return _encoder.encode(event if event.extra is None else to_dict(event))
    except UnicodeEncodeError:
        return _encoder.encode(_encodable(to_dict(event)))


def to_dict(event: values.Event) -> dict[str, Any]:
    """The event as the mapping that its JSON has."""
    body: dict[str, Any] = msgspec.to_builtins(event)
    body.pop("$extra", None)
    if isinstance(event, values.Unknown):
        body["type"] = body.pop("kind", "")
    if event.extra:
        body.update(event.extra)
    return body


def decode(data: bytes | bytearray | memoryview | str) -> values.Event:
    """Read one event.

    Returns:
        The typed event, or `values.Unknown` for a type this version does not know.

    Raises:
        errors.ProviderError: `provider-protocol`, where the text is not a JSON object with a `type`.
    """
    try:
        event = _typed.decode(data)
        if event.extra is None:
            return event
    except msgspec.ValidationError:
        pass
    except _NOT_JSON as error:
        raise _bad(f"not JSON: {error}") from error
    try:
        return from_dict(_plain.decode(data))
    except _NOT_JSON as error:
        raise _bad(f"not a JSON object: {error}") from error


def from_dict(body: dict[str, Any]) -> values.Event:
    """Read one event from a mapping; see `decode`."""
    tag = body.get("type")
    if not isinstance(tag, str):
        raise _bad("an event has no 'type'")
    cls = _BY_TAG.get(tag)
    if cls is None:
        base: dict[str, Any] = {k: body[k] for k in ("run", "seq", "time", "span") if k in body}
        rest = {k: v for k, v in body.items() if k not in base and k != "type"}
        try:
            unknown = msgspec.convert({**base, "type": "unknown", "kind": tag}, values.Unknown)
        except msgspec.ValidationError as error:
            raise _bad(f"{tag}: {error}") from error
        again = msgspec.to_builtins(unknown)
        unknown.extra = {**rest, **{k: v for k, v in base.items() if again.get(k, again) != v}}
        return unknown
    names = {field.encode_name for field in msgspec.structs.fields(cls)} - {"$extra"}
    known = {k: _prune(k, v) for k, v in body.items() if k in names or k == "type"}
    try:
        event = msgspec.convert(known, cls)
    except msgspec.ValidationError as error:
        raise _bad(f"{tag}: {error}") from error
    again = msgspec.to_builtins(event)
    event.extra = {k: v for k, v in body.items() if k not in again or again[k] != v} or None
    return event


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the native wire: one object of any known type.

    Unknown keys are allowed. An object of a type that is not here comes from a newer version, which its
    reader passes on as it is; this schema does not describe it.
    """
    (_,), components = msgspec.json.schema_components(
        [Union[values.KNOWN]],  # noqa: UP007
        ref_template="#/$defs/{name}",
    )
    for name, schema in components.items():
        schema.pop("additionalProperties", None)
        properties = schema.get("properties", {})
        properties.pop("$extra", None)
        if "type" in properties and name not in ("Usage", "ErrorInfo"):
            schema["required"] = sorted({"type", "run", "seq", "time", *schema.get("required", [])})
            for base in ("run", "seq", "time"):
                properties[base].pop("default", None)
            properties["seq"]["minimum"] = 1
            properties["time"] = {"type": "string", "format": "date-time"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Headrace event",
        "oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in values.KNOWN],
        "$defs": components,
    }


def _prune(key: str, value: Any) -> Any:
    cls = _NESTED.get(key)
    if cls is None or not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if k in cls.__struct_fields__}


def _encodable(value: Any) -> Any:
    """A JSON value without lone surrogates; the halves of a pair are joined."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value


def _bad(what: str) -> errors.ProviderError:
    return errors.ProviderError(f"an event could not be read: {what}", code="provider-protocol")
