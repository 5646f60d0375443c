# ruff: noqa: E501 (lists of cases)
"""The JSON machine: RFC 8259 case by case, any document in any cut, growth, bounds, leniency."""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, events
from headrace.protocol.json import MAX_DEPTH, PARSERS, Mode, Parser
from headrace.protocol.lifecycle import Lifecycle

# -- helpers ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module", params=["python", "compiled"])
def machine(request: pytest.FixtureRequest) -> None:
    """Every test here, with the machine as it is and with the compiled one."""
    if request.param not in PARSERS:
        pytest.skip("the JSON machine is not compiled (python compile_machine.py; needs a C compiler)")
    globals()["Parser"] = PARSERS[request.param]


def read(pieces: Iterable[str], mode: Mode = "strict", **more: Any) -> tuple[Parser, list[events.Event]]:
    parser, out = Parser(mode=mode, **more), []
    for piece in pieces:
        out += parser.feed(piece)
    out += parser.close()
    return parser, out


def cut(text: str, places: Iterable[int]) -> list[str]:
    at = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(at)]


def value_of(text: str, mode: Mode = "strict") -> Any:
    return read([text], mode)[0].value


def same(a: Any, b: Any) -> bool:
    """Equal, with NaN equal to itself, and 1, 1.0 and True apart."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        steps = [(key.replace("~", "~0").replace("/", "~1"), item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        steps = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {path: value}
    return {at: leaf for step, item in steps for at, leaf in leaves(item, f"{path}/{step}").items()}


def check_events(out: list[events.Event]) -> dict[str, Any]:
    """Start, deltas with their indexes, end; the ended leaves by path."""
    texts: dict[str, list[str]] = {}
    ended: dict[str, Any] = {}
    for event in out:
        match event:
            case events.FieldStart(path=path):
                assert path not in texts
                texts[path] = []
            case events.FieldDelta(path=path, delta=delta, index=index):
                assert delta
                assert index == len(texts[path])
                texts[path].append(delta)
            case events.FieldEnd(path=path, value=value):
                pieces = texts.pop(path)
                assert "".join(pieces) == (value if isinstance(value, str) else "")
                ended[path] = value
            case _:
                raise AssertionError(event)
    assert not texts
    return ended


def grown(before: Any, after: Any) -> bool:
    """Whether `after` can come of `before` by growing only."""
    if isinstance(before, dict):
        known = list(before)
        return (
            isinstance(after, dict)
            and list(after)[: len(known)] == known
            and all(grown(before[key], after[key]) for key in known)
        )
    if isinstance(before, list):
        return isinstance(after, list) and len(after) >= len(before) and all(map(grown, before, after))
    if isinstance(before, str):
        return isinstance(after, str) and after.startswith(before)
    return same(before, after)


# -- RFC 8259, written from its grammar -------------------------------------------------------------------

VALID = [
    # §2: the structure; white space around the six characters; any value is a text
    "{}", "[]", " {} ", "\t[\n]\r", "[[]]", "[{}]", '{"":{}}', "null", "true", "false", "0", '""', '"a"', " null ",
    "\ntrue", "false\t", "\r\n0\r\n", "[ ]", "{ }", "[\t]", "{\n}", "[\r]", "[ 1 ]", "[1 ,2]", "[1, 2]", "[1\n,\n2]",
    '{"a":1}', '{ "a" : 1 }', '{"a"\t:\r1\n}', '{"a":1,"b":2}', '{"a":1 , "b":2}', " [ { } , [ ] ] ", "[[[[[[]]]]]]",
    # §3: literal names
    "[true]", "[false]", "[null]", "[true,false,null]", '{"true":true}', '{"null":null}', "[null,null]", " true ",
    # §4: objects
    '{"":0}', '{"a":{"b":{"c":{}}}}', '{"a":[]}', '{"a":"b"}', '{"a":1,"a":2}', '{"a":1,"a":{"b":2}}',
    '{"a":{"b":1},"a":[]}', '{"a":"x","a":""}', '{"a":"long","a":"b","c":0}', '{"a b":1}', '{"\\u0061":1}',
    '{"a\\nb":1}', '{"/":1,"~":2,"~1":3}', '{"é":1}', '{"\U0001f600":1}', '{"\\ud83d\\ude00":1}', '{"\\"":1}',
    '{"\\\\":1}', '{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}', '{"0":0}', '{"[":"]"}', '{"{":"}"}', '{",":":"}',
    '{"\\ud800":1}', '{"__proto__":1}', '{"a\\u0000b":1}',
    # §5: arrays, of mixed kinds
    "[1]", "[1,2,3]", "[0,[1,[2,[3]]]]", '["a",1,null,true,{},[]]', "[[],[],[]]", "[{},{}]", '[{"a":1},{"a":2}]',
    "[[1,2],[3,4]]", '["",""]', "[" + ",".join("0" * 100) + "]",
    # §6: numbers
    "-0", "-1", "1", "9", "10", "123456789012345678901234567890", "-9223372036854775808", "18446744073709551616",
    "0.0", "-0.0", "0.1", "1.0", "1.5", "-1.5", "10.01", "0e0", "0E0", "0e+0", "0e-0", "1e1", "1E1", "1e+1", "1e-1",
    "1.0e10", "1.5E-10", "-1.5e+10", "1e308", "1e309", "-1e309", "1e-400", "0.1e1", "1e00", "1e01", "1e-007",
    "3.141592653589793238462643383279", "4.9e-324", "2.2250738585072014e-308", "[0]", "[-0]", "[0,0]", "[1e5,2]",
    '{"a":-0.0}', "[1.1]", "[-1e-1]", "1E400", "0.5", "100000000000000000000000e-2", "[1\n]", "[1 ]", "[-1,-2]",
    # §7: strings
    '"\\""', '"\\\\"', '"\\/"', '"\\b"', '"\\f"', '"\\n"', '"\\r"', '"\\t"', '"\\u0000"', '"\\u0041"', '"\\u00e9"',
    '"\\u00E9"', '"\\uABCD"', '"\\uabcd"', '"\\uAbCd"', '"\\u20ac"', '"\\uFFFF"', '"\\uFFFE"', '"\\u2028"',
    '"\\ud834\\udd1e"', '"\\uD834\\uDD1E"', '"\\uD83D\\uDE00"', '"a\\ud83d\\ude00b"', '"\\udbff\\udfff"',
    '"\\ud800\\udc00"', '"\\ud800"', '"\\udc00"', '"\\udc00\\ud800"', '"\\ud800\\ud800"', '"\\ud800\\ud800\\udc00"',
    '"\\ud800x"', '"\\ud800\\n"', '"\\ud800\\u0041"', '"\\ud83dx\\ude00"', '"\\\\ud83d\\\\ude00"', '"\\\\u0041"',
    '"\\\\\\u0041"', '"\\\\\\\\"', '"\\\\\\""', '"a\\\\"', '"/"', '"\x7f"', '"\x80"', '"é"', '"€"', '"\U0001f600"',
    '"\u2028\u2029"', '"\ufeff"', '"\ufffe"', '"\uffff"', '"\U0010ffff"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\'"', '"`"',
    '" "', '"  a  "', '"{}[]:,"', '"// no comment"', '"/* no comment */"', '"# no comment"', '"null"', '"NaN"', '"a\u0301"',
    '"' + "x" * 5000 + '"', '"' + "\\n" * 500 + '"', '["\\n","\\t"]', '["a\\u0062","\\u0063d"]',
    '"\\u001f"', '"\\u007F"', '"\\uD7FF\\uE000"', '"日本語"', '"\u0644"', '["\\u0022","\\u005C"]', '"\\u002F\\/"', '"\u00a0"',
]  # fmt: skip

INVALID = [
    # nothing, or not all of it
    "", " ", "\n", "[", "{", '"', "[1", "[1,", '{"a"', '{"a":', '{"a":1', '{"a":1,', "[[]", '[{"a":1}', '{"a":[}', "tru",
    "nul", "fals", "t", "-", '"a', '"\\', '"\\"', '"\\u', '"\\u00', '"\\u004', "[true", "[1.", '{"', '{"a', "[[1],", "[{",
    # too much
    "{}{}", "[][]", "1 2", "[]]", "{}}", "[1]x", '""""', '"a" "b"', "null null", "{} x", "[],", "true,", "[]1", '{}"a"',
    # white space that is none; the mark
    "\ufeff{}", "\ufeff", "\u00a0{}", "{}\u00a0", "[\u2028]", "[\x0b1]", "[\x0c]", "\x00", "[\x00]", "[1\u00a0]", "\u3000 1", "\u2060[]",
    # literal names
    "True", "TRUE", "False", "None", "NULL", "Null", "nil", "undefined", "truex", "nulls", "truefalse", "[tru]", "[nul]",
    "NaN", "-NaN", "Infinity", "-Infinity", "[NaN]", "[Infinity]", "inf", "[-Infinity]", "yes", "[t rue]", "trUe",
    # objects
    "{,}", '{"a"}', '{"a" 1}', '{"a":}', '{:1}', '{"a":1,}', '{,"a":1}', '{"a":1,,"b":2}', '{"a":1 "b":2}', '{a:1}',
    "{'a':1}", "{1:1}", "{null:1}", '{"a"::1}', '{"a":1:2}', '{"a",1}', '{"a"=1}', '{"a":1;"b":2}', '{"a":1]', "{[]:1}",
    "{{}:1}", '{"a":1,"b"}', '{"a":1,"b":}', '{"a":1,b:2}', '{"a":b}', "{true:1}", '{"a":1,]', '{"a"', '{ "a" "b" }', "{]",
    # arrays
    "[,]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "[1;2]", "[1:2]", "[1}", "[}", '["a" "b"]', '["a":1]', "[1,2,]", "]", "}", ":",
    ",", "[[1]", "[1]]", "[(1)]", "(1)", "<1>", "[a]", "[']']", "[*]", "[&]", "[...]", '["a",]', "[[],]", "[,,]", "[1,[2,]]",
    # numbers
    "01", "-01", "00", "-00", "012", "0x10", "0X1", "1.", "-1.", ".5", "-.5", "1.e5", ".e1", "1e", "1e+", "1e-", "1E", "1.5e",
    "+1", "++1", "--1", "-+1", "+-1", "1+1", "1-1", "1.2.3", "1e5.5", "1e5e5", "1_000", "1,000", "0b1", "0o7", "1f", "1L", "1n",
    "- 1", "1 .5", "1. 5", "1e 5", "1e+-5", "-e5", "e5", "-a", "1a", "٣", "１", "½", "[1.]", "[-]", "[+1]", "[01]", "[1e]", "[.1]", "$1",
    # strings
    "'a'", "`a`", "“a”", "a", '"\\a"', '"\\x41"', '"\\\'"', '"\\0"', '"\\v"', '"\\ "', '"\\\n"', '"\\U0041"', '"\\u"', '"\\u004"',
    '"\\u00g0"', '"\\u-041"', '"\\u+041"', '"\\u 041"', '"\\u００41"', '"\\ud83d\\u"', '"\\ud83d\\x"', '"\\ud83d\\ude0"', '"\\ud83d\\ude0g"',
    '"\n"', '"\r"', '"\t"', '"\x00"', '"\x01"', '"\x08"', '"\x0c"', '"\x1f"', '"a\nb"', '"a\r\nb"', '["\t"]', '{"a\nb":1}', '{"\\x":1}', '{"\t":1}',
    '"\\u{41}"', '"\\é"', '"a\\"', '"a"b"', '"a"b', '"\\8"', '"""a"""', 'r"a"', 'u"a"', '"a"+"b"',
    # comments
    "// c\n1", "1 // c", "/* c */1", "[1 /* c */]", "# c\n1", '{"a":/* c */1}', "/", "/**/", "<!-- -->1", "[1] --",
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_valid(text: str) -> None:
    want = json.loads(text)
    for pieces in ([text], list(text), cut(text, range(0, len(text), 4))):
        for mode in ("strict", "lenient"):
            parser, _ = read(pieces, mode)  # type: ignore[arg-type]
            assert same(parser.value, want)
            assert parser.complete
            assert not parser.truncated


@pytest.mark.parametrize("text", INVALID)
def test_invalid(text: str) -> None:
    for pieces in ([text], list(text)):
        with pytest.raises(errors.RunError) as caught:
            read(pieces)
        assert caught.value.code == "output-rejected"
        assert 0 <= caught.value.details["position"] <= len(text)


def test_there_are_enough_cases() -> None:
    assert len(set(VALID)) >= 200
    assert len(set(INVALID)) >= 200


def test_python_takes_no_more_than_the_constants() -> None:
    """What this list refuses, `json.loads` refuses too, but for its three constants outside the RFC."""
    taken = {text for text in INVALID if _loads(text)}
    assert taken == {"NaN", "Infinity", "-Infinity", "[NaN]", "[Infinity]", "[-Infinity]"}


def _loads(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# -- any document, any cut --------------------------------------------------------------------------------

TEXT = st.text(
    st.one_of(st.sampled_from('ab"\\/\b\n\t{}[]:, ~éß😀\u2028\ud83d\ude00'), st.characters(codec=None)),
    max_size=12,
)
VALUES = st.recursive(
    st.one_of(
        TEXT, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=20,
)
DOCUMENTS = st.builds(
    lambda value, ascii_only, layout: json.dumps(value, ensure_ascii=ascii_only, **layout),
    VALUES,
    st.booleans(),
    st.sampled_from([{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}]),
)
CUTS = st.one_of(st.lists(st.integers(0, 10_000), max_size=20), st.just(range(10_000)))


@settings(max_examples=400, deadline=None)
@given(DOCUMENTS, CUTS, st.sampled_from(["strict", "lenient"]))
def test_any_document_in_any_cut(text: str, places: Iterable[int], mode: Mode) -> None:
    want = json.loads(text)
    parser, out = read(cut(text, places), mode)
    assert same(parser.value, want)
    assert same(check_events(out), leaves(want))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_a_value_only_grows(text: str) -> None:
    parser, before = Parser(), None
    for piece in text:
        parser.feed(piece)
        if before is not None:
            assert grown(before, parser.value)
        before = copy.deepcopy(parser.value) if parser.started else None
    parser.close()
    assert same(parser.value, json.loads(text))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_value_so_far_does_not_depend_on_the_cut(text: str, upto: int, seed: int) -> None:
    head = text[: upto % (len(text) + 1)]
    one, many = Parser(), Parser()
    one.feed(head)
    for piece in cut(head, range(seed % 7, 10_000, seed % 5 + 1)):
        many.feed(piece)
    assert same(one.value, many.value)
    assert one.complete == many.complete


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.integers(0, 10_000))
def test_a_truncated_document_is_closed_as_it_stands(text: str, upto: int) -> None:
    head = text[: upto % (len(text) + 1)]
    try:
        parser, out = read(cut(head, range(0, 10_000, 3)), "lenient")
    except errors.RunError as caught:
        refused = caught
    else:
        refused = None
    if refused is not None:
        assert refused.details["truncated"]
        assert not head.strip() or head.strip()[0] not in '{["'
        return
    check_events(out)
    if parser.truncated:
        assert (
            grown(parser.value, json.loads(text))
            or head.rstrip().endswith(("\\", "\\u"))
            or "\\ud" in head[-12:]
        )


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("{}[]:,\"'\\ntrue0-.e1 /*#\nu"), max_size=25),
    CUTS,
    st.sampled_from(["strict", "lenient"]),
)
def test_rubbish_ends_the_same_in_any_cut(text: str, places: Iterable[int], mode: Mode) -> None:
    assert _outcome([text], mode) == _outcome(cut(text, places), mode)
    if mode == "strict":
        assert (_outcome([text], mode)[0] == "ok") == (_loads(text) and "NaN" not in text)


def _outcome(pieces: list[str], mode: Mode) -> tuple[str, str]:
    try:
        return "ok", repr(read(pieces, mode)[0].value)
    except errors.RunError as error:
        return error.code, ""


# -- cost -------------------------------------------------------------------------------------------------


def test_deltas_of_one_character_are_linear_in_memory_moved() -> None:
    """The text of an open string is grown in place: 100,000 pieces move it only a few times."""
    parser = Parser()
    parser.feed('{"a":"')
    places, moved = set(), 0
    for _ in range(100_000):
        parser.feed("x")
        place = id(parser.value["a"])
        moved += place not in places
        places = {place}
    assert parser.value == {"a": "x" * 100_000}
    if sys.implementation.name == "cpython":
        assert moved < 20_000


def test_an_open_parser_takes_little_more_than_its_value() -> None:
    row = {"id": 7, "name": "A sluice gate of oak", "text": "Water to the wheel, and none beside it. " * 4}
    text = json.dumps({"rows": [row] * 300})
    pieces = cut(text[:-3], range(0, len(text), 4))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        parser = Parser()
        for piece in pieces:
            parser.feed(piece)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(parser.value["rows"]) == 300
    assert used <= 3 * len(text)


# -- events -----------------------------------------------------------------------------------------------


def test_events_of_a_small_document() -> None:
    _, out = read(['{"a": "he', "llo\\", 'n", "b": [1', '2, {}], "c": nu', "ll}"])
    assert out == [
        events.FieldStart(path="/a"),
        events.FieldDelta(path="/a", delta="he", index=0),
        events.FieldDelta(path="/a", delta="llo", index=1),
        events.FieldDelta(path="/a", delta="\n", index=2),
        events.FieldEnd(path="/a", value="hello\n"),
        events.FieldStart(path="/b/0"),
        events.FieldEnd(path="/b/0", value=12),
        events.FieldStart(path="/b/1"),
        events.FieldEnd(path="/b/1", value={}),
        events.FieldStart(path="/c"),
        events.FieldEnd(path="/c", value=None),
    ]


def test_containers_on_request() -> None:
    _, out = read(['{"rows": [{"a": 1}, {}]}'], containers=True)
    assert [(event.type, event.path) for event in out] == [
        ("field-start", ""), ("field-start", "/rows"), ("field-start", "/rows/0"), ("field-start", "/rows/0/a"),
        ("field-end", "/rows/0/a"), ("field-end", "/rows/0"), ("field-start", "/rows/1"), ("field-end", "/rows/1"),
        ("field-end", "/rows"), ("field-end", ""),
    ]  # fmt: skip
    assert out[-1].value == {"rows": [{"a": 1}, {}]}


def test_a_run_may_have_these_events() -> None:
    for containers in (False, True):
        lifecycle = Lifecycle()
        lifecycle.check(events.RunStart(kind="answer", model="demo"))
        _, out = read(list('{"a":"x","a":["y",{}],"b":{"c":1}}'), containers=containers)
        for event in out:
            lifecycle.check(event)
        lifecycle.check(events.RunEnd(outcome="completed"))


def test_root_goes_before_every_path() -> None:
    parser, out = read(['[{"a/b": "~"}]'], root="/answer")
    assert {event.path for event in out} == {"/answer/0/a~1b"}
    assert parser.at("/answer/0/a~1b") == "~"
    assert parser.at("/answer") == [{"a/b": "~"}]
    assert parser.at("/answers") is None
    assert parser.at("") is None


def test_at_and_is_complete() -> None:
    parser = Parser()
    parser.feed('{"a": {"b": "xy", "c": "z')
    assert parser.at("/a/b") == "xy"
    assert parser.at("/a/c") == "z"
    assert parser.at("/a/d", "none") == "none"
    assert [parser.is_complete(path) for path in ("/a/b", "/a/c", "/a", "", "/x")] == [
        True,
        False,
        False,
        False,
        False,
    ]
    parser.feed('"}, "n": 1')
    assert parser.is_complete("/a")
    assert not parser.is_complete("/n")
    assert "n" not in parser.value
    parser.feed("}")
    assert parser.is_complete("/n")
    assert parser.is_complete("")
    assert parser.complete


def test_the_value_is_live() -> None:
    parser = Parser()
    assert parser.value is None
    assert not parser.started
    parser.feed('{"a": ["x')
    value = parser.value
    parser.feed('y", 1]}')
    assert value is parser.value
    assert value == {"a": ["xy", 1]}


def test_a_number_alone_is_whole_at_the_end() -> None:
    parser = Parser()
    assert parser.feed("4") == []
    assert parser.feed("2") == []
    assert not parser.complete
    assert parser.close() == [events.FieldStart(path=""), events.FieldEnd(path="", value=42)]
    assert parser.complete


def test_what_follows_can_be_kept() -> None:
    parser = Parser(trailing="keep")
    parser.feed('{"a": 1} and')
    parser.feed(" more")
    assert parser.value == {"a": 1}
    assert parser.rest == " and more"


# -- refusals ---------------------------------------------------------------------------------------------


def test_an_error_says_where() -> None:
    parser = Parser()
    parser.feed('{"items": [{"price": 1')
    with pytest.raises(errors.RunError) as caught:
        parser.feed(".x}]}")
    error = caught.value
    assert error.code == "output-rejected"
    assert error.details["position"] == 21
    assert error.details["path"] == "/items/0/price"
    assert not error.details["truncated"]
    assert "'1.x' is not a value" in error.message
    line, caret = error.details["excerpt"].split("\n")
    assert line[len(caret) - 1 :].startswith("}")
    with pytest.raises(errors.RunError):
        parser.feed("x")
    with pytest.raises(errors.RunError):
        parser.close()


def test_events_before_a_fault_come_first() -> None:
    parser = Parser()
    assert [event.type for event in parser.feed('{"a": "x" !')] == ["field-start", "field-delta", "field-end"]
    with pytest.raises(errors.RunError, match="expected a comma or a closing bracket, found '!'"):
        parser.feed("}")


@pytest.mark.parametrize("text", ['{"a": "x', '{"a": 1', "[", '{"a"', "tr", "-", ""])
def test_a_cut_document_is_truncated(text: str) -> None:
    with pytest.raises(errors.RunError) as caught:
        read([text])
    assert caught.value.details["truncated"]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("[" * (MAX_DEPTH + 1), "max_depth"),
        ('{"a":' * 100_000, "max_depth"),
        ('{"' + "k" * 5000 + '": 1}', "max_key"),
        ("1" * 5000, "max_number"),
        ("[1." + "0" * 5000 + "]", "max_number"),
    ],
)
def test_bounds(mode: Mode, text: str, bound: str) -> None:
    for pieces in ([text], [text[i : i + 7] for i in range(0, len(text), 7)]):
        with pytest.raises(errors.RunError, match=bound):
            read(pieces, mode)


def test_the_bound_on_the_whole() -> None:
    for pieces in (['{"a": "', *("x" * 200), '"}'], ['{"a": "' + "x" * 200 + '"}'], ["[", *(" " * 200), "]"]):
        with pytest.raises(errors.RunError, match="max_chars"):
            read(pieces, max_chars=100)


def test_what_the_bounds_allow() -> None:
    depth = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read([depth])[0].complete
    assert read(['{"' + "k" * 4096 + '":1}'])[0].complete
    assert value_of("[" + "1" * 4300 + "]") == [int("1" * 4300)]


# -- what models really do --------------------------------------------------------------------------------

LENIENT = [
    ("[1, 2,]", [1, 2]),
    ('{"a": 1,}', {"a": 1}),
    ('{"a": 1,,"b": 2,}', {"a": 1, "b": 2}),
    ("[1,,2]", [1, 2]),
    ("{'a': 'it\\'s \"x\"'}", {"a": 'it\'s "x"'}),
    ("{a: 1, b_2: 'x', $c: 2, d-e: 3}", {"a": 1, "b_2": "x", "$c": 2, "d-e": 3}),
    ("{1: 'one', 2 : 'two'}", {"1": "one", "2": "two"}),
    ("{'a': True, 'b': False, 'c': None}", {"a": True, "b": False, "c": None}),
    (
        "[NaN, Infinity, -Infinity, nan, inf, -inf]",
        [math.nan, math.inf, -math.inf, math.nan, math.inf, -math.inf],
    ),
    ("[undefined]", [None]),
    ("// note\n{/* a */ 'a' /* b */ : /* c */ 1 // d\n, # e\n 'b': 2 /* f **/ } // g", {"a": 1, "b": 2}),
    ("/***/[1/*x*/,2]/*/ */", [1, 2]),
    ("[+1, .5, 5., 0x1F, -0x10, 1_000, 007]", [1, 0.5, 5.0, 31, -16, 1000, 7]),
    ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
    ('["\\d+ \\alpha \\x41 \\u12 \\$"]', ["\\d+ \\alpha A \\u12 \\$"]),
    ("\ufeff{}", {}),
    ("\u00a0[\u00a01\u00a0]\u00a0", [1]),
    ('[1 2 "a" {}]', [1, 2, "a", {}]),
    ('{"a": 1\n"b": 2}', {"a": 1, "b": 2}),
    ("['\\ud83d\\ude00']", ["\U0001f600"]),
    ("'a'", "a"),
    ("True", True),
]


@pytest.mark.parametrize(("text", "want"), LENIENT)
def test_lenient(text: str, want: Any) -> None:
    for pieces in ([text], list(text), cut(text, range(0, len(text), 3))):
        parser, out = read(pieces, "lenient")
        assert same(parser.value, want)
        assert parser.complete
        assert not parser.truncated
        assert same(check_events(out), leaves(want))
    with pytest.raises(errors.RunError):
        read([text])


TRUNCATED = [
    ('{"a": "he', {"a": "he"}),
    ('{"a": "he\\', {"a": "he"}),
    ('{"a": "he\\u00', {"a": "he"}),
    ('{"a": "he\\ud83d', {"a": "he\ud83d"}),
    ('{"a": "he\\ud83d\\ude', {"a": "he\ud83d"}),
    ('{"a": 12', {}),
    ('{"a": 1, "b": 12', {"a": 1}),
    ('{"a": true', {"a": True}),
    ('{"a": tru', {}),
    ('{"a": 1, "b', {"a": 1}),
    ('{"a": 1, "b"', {"a": 1}),
    ('{"a": 1, "b":', {"a": 1}),
    ('{"a": [1, {"b": "x"', {"a": [1, {"b": "x"}]}),
    ('{"a": [1, 2', {"a": [1]}),
    ("[", []),
    ('{"a": {', {"a": {}}),
    ('"abc', "abc"),
    ("[1, // no", [1]),
    ("[1, /* no", [1]),
    ("[1] // done", [1]),
]


@pytest.mark.parametrize(("text", "want"), TRUNCATED)
def test_lenient_truncated(text: str, want: Any) -> None:
    for pieces in ([text], list(text)):
        parser, out = read(pieces, "lenient")
        assert same(parser.value, want)
        assert parser.complete
        assert parser.truncated == (not text.startswith("[1] "))
        assert same(check_events(out), leaves(want))
        assert parser.close() == []


@pytest.mark.parametrize(
    "text",
    ["", " ", "hello", "{a}", "{a b: 1}", "{'a': b}", "[1}", "{]", '{"a" "b"}', '{"a": "He said "hi" to me"}', "[1:2]",
     "{:1}", "[1] x", "{} {}", "/x", "[/ 1]", "{,}", "[,]", "[1.2.3]", "[--1]", "2024-01-01 ", "tru", "{'a': 'it's'}"],
)  # fmt: skip
def test_lenient_has_limits(text: str) -> None:
    for pieces in ([text], list(text)):
        with pytest.raises(errors.RunError) as caught:
            read(pieces, "lenient")
        assert caught.value.code == "output-rejected"
