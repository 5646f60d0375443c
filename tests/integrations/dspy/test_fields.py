"""Raw text into fields: any cut gives the same, for each format. Needs no DSPy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.integrations.dspy import fields

KINDS: dict[str, fields.Kind] = {"answer": "text", "items": "json", "person": "json"}
VALUES = {
    "answer": 'Sure: [[is]] "quoted"\n\ntwo – 世界 👩‍🚀',
    "items": [1, "two", None, {"a": []}, 2.5, True],
    "person": {"name": 'A "b"', "tags": [], "more": {}, "n": -3},
}


def split(
    text: str, cuts: list[str], format: fields.Format, **options: Any
) -> tuple[dict[str, str], list[str]]:
    made = fields.splitter(format, KINDS, **options)
    found = [piece for cut in cuts for piece in made.feed(cut)] + made.close()
    texts: dict[str, str] = {}
    for piece in found:
        texts[piece.field] = texts.get(piece.field, "") + piece.text
    return texts, [piece.field for piece in found if piece.end]


def written(format: fields.Format, entities: bool = False) -> str:
    if format == "json":
        return "Here it is:\n```json\n" + json.dumps(VALUES, indent=1, ensure_ascii=False) + "\n```\n"
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in VALUES.items()}
    if entities:
        texts = {name: v.replace("&", "&amp;").replace("<", "&lt;") for name, v in texts.items()}
    if format == "xml":
        return "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in texts.items())
    return (
        "".join(f"[[ ## {name} ## ]]\n{text}\n\n" for name, text in texts.items()) + "[[ ## completed ## ]]"
    )


@pytest.mark.parametrize("format", ["chat", "json", "xml"])
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_any_cut_gives_the_same_fields(format: fields.Format, sizes: list[int]) -> None:
    text, cuts, at = written(format), [], 0
    while at < len(text):
        size = sizes[len(cuts) % len(sizes)]
        cuts.append(text[at : at + size])
        at += size
    texts, ends = split(text, cuts, format)
    assert texts["answer"] == VALUES["answer"]
    assert json.loads(texts["items"]) == VALUES["items"]
    assert json.loads(texts["person"]) == VALUES["person"]
    assert ends == list(KINDS)


def test_xml_entities_are_undone_where_dspy_does_it() -> None:
    text = "<answer>a &lt;b&gt; &amp;amp; &#233; & c &unknown; end</answer>"
    for cuts in ([text], list(text)):
        assert split(text, cuts, "xml", entities=True)[0] == {"answer": "a <b> &amp; é & c &unknown; end"}
        assert split(text, cuts, "xml")[0] == {"answer": text[8:-9]}


def test_a_value_in_nested_xml_is_not_shown() -> None:
    text = "<items><item>a</item></items><answer>b</answer>"
    assert split(text, list(text), "xml") == ({"answer": "b"}, ["answer"])


def test_json_that_is_loosely_written_comes_out_as_json() -> None:
    text = "{'answer': 'it is', items: [1, 'a', True, None,], // why\n \"other\": 3, 'person': {}}"
    texts, _ = split(text, list(text), "json")
    assert (texts["answer"], json.loads(texts["items"]), texts["person"]) == (
        "it is",
        [1, "a", True, None],
        "{}",
    )


def test_a_text_field_that_is_no_string_is_not_shown() -> None:
    assert split("", ['{"answer": 3, "items": 4}'], "json") == ({"items": "4"}, ["items"])


def test_an_answer_that_is_cut_off() -> None:
    made = fields.splitter("chat", KINDS)
    assert made.feed("[[ ## answer ## ]]\nand then") == [fields.Piece("answer", "and then")]
    assert made.close() == [fields.Piece("answer", "", True)]
