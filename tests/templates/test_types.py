from __future__ import annotations

import datetime as dt
import re
from typing import Any

import jsonschema
import pytest

from headrace.templates import faults, models, options, parser, syntax, types


def shape(source: str, scope: dict[str, Any] | None = None, **known: Any) -> types.Shape:
    (slot,) = (n for n in syntax.walk(parser.parse(source).segments[0].nodes) if isinstance(n, syntax.Slot))
    kind = models.Types(**known).get(slot.type, slot.place)
    return types.Shape(slot, kind, kind.options(slot, scope or {}))


@pytest.mark.parametrize(
    ("source", "answer", "value"),
    [
        ("[[a]]", " as it is\n", " as it is\n"),
        ("[[bool:a]]", '{"value": true}', True),
        ("[[decide:a]]", "No.", False),
        ("[[bool:a]]", '{"value": null}', None),
        ("[[int:a|min=1,max=9]]", '{"value": 9}', 9),
        ("[[int:a]]", "```json\n{\"value\": 4}\n```", 4),
        ("[[number:a]]", 'Sure: {"value": 1.5} there', 1.5),
        ("[[pick:a|good,not-so-good]]", '{"value": "Not-So-Good"}', "not-so-good"),
        ("[[pick:a|1,2]]", '{"value": 2}', 2),
        ("[[date:a]]", '{"value": "2026-05-17"}', dt.date(2026, 5, 17)),
        ("[[date:a]]", '{"value": "17 May 2026"}', dt.date(2026, 5, 17)),
        ("[[datetime:a]]", '{"value": "2026-05-17T10:00:00+00:00"}', dt.datetime(2026, 5, 17, 10, tzinfo=dt.UTC)),
        ("[[time:a]]", "14:30", dt.time(14, 30)),
        ("[[duration:a]]", '{"value": "PT1H30M"}', dt.timedelta(minutes=90)),
        ("[[json:a]]", '{"x": [1]}', {"x": [1]}),
        ("[[record:a|name,age=int]]", '{"value": {"name": "Ada", "age": "36"}}', {"name": "Ada", "age": 36}),
        ("[[text{2}:a]]", '{"value": ["x", "y"]}', ["x", "y"]),
        ("[[int?:a]]", '{"value": []}', []),
    ],
)  # fmt: skip
def test_values(source: str, answer: str, value: Any) -> None:
    assert shape(source).value(answer) == value


@pytest.mark.parametrize(
    ("source", "answer", "words"),
    [
        ("[[!a]]", "  ", "empty"),
        ("[[a|max_length=3]]", "four", "at most 3"),
        ("[[a|pattern='^x']]", "y", "pattern"),
        ("[[!bool:a]]", '{"value": null}', "null"),
        ("[[bool:a]]", "maybe", "true or false"),
        ("[[int:a]]", '{"value": 1.5}', "whole"),
        ("[[int:a]]", '{"value": true}', "number"),
        ("[[number:a]]", '{"value": NaN}', "finite"),
        ("[[number:a|gt=1]]", '{"value": 1}', "more than"),
        ("[[pick:a|x,y]]", '{"value": "z"}', "one of"),
        ("[[date:a]]", '{"value": "May 2026"}', "whole date"),
        ("[[date:a|min=2026-01-01]]", '{"value": "2025-12-31"}', "at least"),
        ("[[int{2}:a]]", '{"value": [1]}', "2 items"),
        ("[[int+:a|max=3]]", '{"value": [1, 9]}', "item 2"),
        ("[[record:a|name]]", '{"value": {}}', "name"),
        ("[[json:a]]", "no", "JSON"),
    ],
)
def test_what_does_not_fit(source: str, answer: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shape(source).value(answer)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("[[int:a|mni=3]]", "did you mean 'min'"),
        ("[[int:a|min=x,temperature=hot]]", "must be a number"),
        ("[[int:a|min=5,max=2]]", "nothing fits"),
        ("[[a|pattern='(']]", "regular expression"),
        ("[[bool:a|yes]]", "without a key"),
        ("[[pick:a]]", "choices"),
        ("[[nope:a]]", "no slot type"),
        ("[[a|retries=-1]]", "retries"),
        ("[[a|stream=perhaps]]", "true or false"),
    ],
)
def test_bad_options_have_a_place(source: str, words: str) -> None:
    with pytest.raises(faults.TemplateError, match=words) as caught:
        shape(source)
    assert caught.value.faults[0].place.column >= 1


def test_options_take_variables() -> None:
    assert shape("[[pick:a|colours]]", {"colours": ["red", "blue"]}).options.words == ["red", "blue"]
    assert shape("[[int:a|max=limit,min={{ limit - 2 }}]]", {"limit": 5}).options.limits == {
        "max": 5,
        "min": 3,
    }


@pytest.mark.parametrize(
    "source", ["[[int{1,2}:a|min=1]]", "[[pick:a|x,y]]", "[[record:a|n,b=bool]]", "[[text*:a]]"]
)
def test_schemas_are_schemas(source: str) -> None:
    schema = shape(source).schema()
    assert schema is not None
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_what_engines_are_told_of_durations_and_recurrences() -> None:
    def pattern(kind: str) -> re.Pattern[str]:
        schema = types.BUILT_IN[kind].schema(options.Options())
        assert schema is not None
        return re.compile(schema["pattern"])

    duration, rule = pattern("duration"), pattern("date_rule")
    for text in ("PT1H30M", "P3W", "P1D", "P1DT2H", "PT0.5S", "-PT5M", "PT90M10S"):
        assert duration.match(text)
        assert isinstance(types.BUILT_IN["duration"].convert(text, options.Options()), dt.timedelta)
    for text in ("P", "PT", "P1", "P1DT", "1H", "PT1M2H"):
        assert not duration.match(text)
    for text in (
        "DTSTART:20260517T090000 RRULE:FREQ=WEEKLY",
        "DTSTART:20260517T090000 RRULE:FREQ=MONTHLY;INTERVAL=2;BYDAY=-1FR;COUNT=4;WKST=MO",
        "DTSTART:20260531T090000 RRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=-1;UNTIL=20300131T000000",
    ):
        assert rule.match(text)
        assert types.BUILT_IN["date_rule"].convert(text, options.Options())[0].year == 2026
    assert not rule.match("RRULE:FREQ=WEEKLY")


def test_a_recurrence_gives_its_dates() -> None:
    rule = shape("[[date_rule:a]]").value('{"value": "DTSTART:20260517T090000\\nRRULE:FREQ=WEEKLY;COUNT=2"}')
    assert [day.day for day in rule] == [17, 24]
