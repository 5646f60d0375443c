"""A template as JSON for those who show it: an editor, the web page, `template check --json`. Pure.

`describe` says what a template that parses is: variables, slots, segments, the graph, what will be asked when.
`wrong` is the same form for one that does not. `marks` gives the places of what is not text, also in a template
with faults, for colours. Lines and columns count from 1; an end is the place after the last character.
"""

from __future__ import annotations

from typing import Any

from headrace.templates import faults, parser, plan, scanner, syntax
from headrace.templates.plan import Plan
from headrace.templates.types import SlotType


def describe(planned: Plan, faults: list[faults.Fault] | None = None) -> dict[str, Any]:
    """What a template is.

    Args:
        faults: what is wrong with the inputs it was checked with.
    """
    segments = []
    slots = []
    for index, segment in enumerate(planned.segments):
        here = segment.slots
        segments.append(
            {
                "index": index,
                "name": segment.segment.name,
                "needs": sorted(segment.needs),
                "slots": list(dict.fromkeys(slot.key for slot in here)),
            }
        )
        slots += [_slot(slot, planned.types[slot.type], index) for slot in here]
    return {
        "ok": not faults,
        "errors": [fault.to_json() for fault in faults or ()],
        "variables": [
            {"name": name, "line": place.line, "column": place.column}
            for name, place in planned.variables.items()
        ],
        "slots": slots,
        "segments": segments,
        "waves": planned.waves,
        "graph": plan.graph(planned),
        "explain": plan.explain(planned),
    }


def wrong(error: faults.TemplateError) -> dict[str, Any]:
    """What is wrong with a template that does not parse."""
    return {
        "ok": False,
        "errors": [fault.to_json() for fault in error.faults],
        "variables": [],
        "slots": [],
        "segments": [],
        "waves": [],
        "graph": "",
        "explain": "",
    }


def marks(text: str) -> list[dict[str, Any]]:
    """What is not text, in order: `slot`, `expression`, `statement`, `open`, `close`, `checkpoint`, `include`,
    `comment`. Faults are passed over."""
    found = []
    for piece in scanner.Scanner(parser.no_files).pieces(scanner.Source("<template>", text)):
        if piece.kind == "text":
            continue
        include = piece.place.text[piece.place.column - 1 :].startswith(("<include", "</include"))
        found.append({"kind": "include" if include else piece.kind, **_span(piece.place, piece.end)})
    return found


def _slot(slot: syntax.Slot, kind: SlotType, segment: int) -> dict[str, Any]:
    return {
        "name": slot.key,
        "type": slot.type,
        "segment": segment,
        "required": slot.required,
        "list": slot.listed,
        "streams": kind.streams and not slot.listed,
        "fields": kind.fields or slot.listed,
        "source": f"[[{slot.source}]]",
        **_span(slot.place, slot.end),
    }


def _span(place: faults.Place, end: faults.Place) -> dict[str, int]:
    return {"line": place.line, "column": place.column, "end_line": end.line, "end_column": end.column}
