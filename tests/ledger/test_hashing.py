from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger import conformance

from headrace import errors
from headrace.ledger import hashing, sqlite

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
facts = st.tuples(texts, texts, st.dictionaries(texts, json_values, max_size=3))


def chain(contents: list[Any], key: bytes | None = None) -> tuple[list[hashing.Row], hashing.Head]:
    rows: list[hashing.Row] = []
    prev = hashing.GENESIS
    for seq, (kind, content, meta) in enumerate(contents, 1):
        text = hashing.canonical(meta)
        hash = hashing.fact_hash("c", seq, kind, content, text, prev)
        rows.append(hashing.Row("c", seq, kind, content, text, prev, hash))
        prev = hash
    head = hashing.Head("c", "o", len(rows), prev, hashing.head_seal(key, "c", "o", len(rows), prev))
    return rows, head


def problems(rows: list[Any], head: hashing.Head | None, key: bytes | None = None) -> list[int]:
    return [p.seq for p in hashing.check_chain("c", rows, head, key)]


@given(st.lists(facts, max_size=6), st.none() | st.binary(min_size=1))
def test_a_sound_chain_has_no_problems(contents: list[Any], key: bytes | None) -> None:
    assert problems(*chain(contents, key), key) == []


@given(st.lists(facts, min_size=1, max_size=6), st.data())
def test_any_change_of_one_fact_names_it(contents: list[Any], data: st.DataObject) -> None:
    rows, head = chain(contents)
    at = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["kind", "content", "meta", "prev_hash", "hash"]))
    value = data.draw(texts.filter(lambda t: t != getattr(rows[at], column)))
    rows[at] = msgspec.structs.replace(rows[at], **{column: value})
    assert problems(rows, head) == [at + 1]


@given(st.lists(facts, min_size=1, max_size=8), st.data())
def test_any_missing_fact_is_named(contents: list[Any], data: st.DataObject) -> None:
    rows, head = chain(contents)
    at = data.draw(st.integers(0, len(rows) - 1))
    del rows[at]
    assert problems(rows, head) == [at + 1]


def test_an_unreadable_fact_is_named_and_the_next_is_not() -> None:
    rows, head = chain([("k", str(i), {}) for i in range(4)])
    assert problems([rows[0], hashing.Unreadable(2, "torn"), *rows[2:]], head) == [2]
    assert problems([*rows[:3], hashing.Unreadable(4, "torn")], head) == [4]


def test_swapped_facts() -> None:
    rows, head = chain([("k", str(i), {}) for i in range(4)])
    swapped = [msgspec.structs.replace(rows[2], seq=2), msgspec.structs.replace(rows[1], seq=3)]
    assert problems([rows[0], *swapped, rows[3]], head) == [2, 3, 4]


def test_no_head_and_a_wrong_one() -> None:
    rows, head = chain([("k", "a", {})])
    assert problems(rows, None) == [0]
    assert problems(rows, msgspec.structs.replace(head, seal="0" * 64)) == [0]
    assert problems(rows, head, b"key") == [0]
    assert problems(rows, msgspec.structs.replace(head, hash="0" * 64)) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), texts), max_size=20))
def test_the_total_of_steps_is_the_total_of_heads(steps: list[tuple[int, str]]) -> None:
    total, heads = hashing.Total(), {}
    for conversation, hash in steps:
        old = heads.get(conversation)
        count = old[0] + 1 if old else 1
        seal = hashing.head_seal(None, str(conversation), None, count, hash)
        total = hashing.next_total(None, total, seal, old[1] if old else None)
        heads[conversation] = (count, seal)
    sum = hashing.GENESIS
    for _, seal in heads.values():
        sum = hashing.add_seal(sum, seal)
    assert (total.sum, total.facts, total.conversations) == (sum, len(steps), len(heads))
    if steps:
        assert not [*hashing.check_total(total, len(steps), len(heads), sum, None)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5]}, '{"a":[true,null,1.5],"b":1}'),
        ('é🎉\x00\x7f\u2028/"\\\n', '"é🎉\\u0000\x7f\u2028/\\"\\\\\\n"'),
        ({"\uffff": 1, "\U00010000": 2}, '{"\uffff":1,"\U00010000":2}'),
        (10**30, "1" + "0" * 30),
    ],
)
def test_canonical_json(value: Any, text: str) -> None:
    assert hashing.canonical(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", {("a",): 1}, {1: 1, "a": 2}])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(errors.UsageError, match="must be JSON"):
        hashing.canonical(value)


@pytest.mark.parametrize("value", ["\ud83d", {"a": ["x\udc00"]}, {"\ud800": 1}])
def test_lone_surrogates_are_refused_with_advice(value: Any) -> None:
    with pytest.raises(errors.UsageError, match="utf-16"):
        hashing.canonical(value)


def test_the_advice_on_surrogates_works() -> None:
    def mended(text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    assert mended("a\ud83d\ude00b\ud83dc") == "a😀b\ufffdc"


async def test_a_stranger_recomputes_it(tmp_path: Path) -> None:
    """The script in the docs, run as it stands, against a sound store and against a changed one."""
    (script,) = re.findall(r"```python\n(# check\.py.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(script.strip().splitlines()) <= 21
    (tmp_path / "check.py").write_text(script)
    path = tmp_path / "a.sqlite"
    async with conformance.closing(sqlite.SqliteLedger(path)) as store:
        for text in conformance.HARD_TEXTS[:-1]:
            await conformance.turn(store, text, text)
        await store.append("c2", "note", "é", {"z": [1.5, "🎉\x00"], "a": {"k": None}}, id="n")

    def check(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "check.py", str(file)], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    sound = check(path)
    assert (sound.returncode, sound.stdout) == (0, "15 facts in 2 conversations: sound\n"), sound.stderr
    for sql, told in [
        ("UPDATE ledger SET content = 'x' WHERE conversation = 'c1' AND seq = 3", "c1 3"),
        ("DELETE FROM ledger WHERE conversation = 'c1' AND seq = 14", "c1 14"),
    ]:
        copy = Path(shutil.copy(path, tmp_path / "copy.sqlite"))
        with sqlite3.connect(copy) as db:
            db.execute(sql)
        db.close()
        bad = check(copy)
        assert bad.returncode == 1
        assert told in bad.stderr
