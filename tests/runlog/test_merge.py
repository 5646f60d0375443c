"""Merging keeps every character, every seq, and the order; whatever is interleaved and wherever one cuts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace import events
from headrace.runlog import base, merge

BLOCKS = ("b1", "b2", "b3")


@st.composite
def histories(draw: st.DrawFn) -> list[events.Event]:
    """Deltas of a few blocks and kinds, with other events in between."""
    out: list[events.Event] = []
    pieces = st.text(st.characters(codec="utf-8"), max_size=4)
    for kind, block, piece in draw(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(BLOCKS), pieces), max_size=60)
    ):
        match kind:
            case 0 | 1:
                out.append(events.TextDelta(block=block, delta=piece))
            case 2:
                out.append(events.ReasoningDelta(block=block, delta=piece))
            case 3:
                out.append(events.ToolCallDelta(call=block, delta=piece, span="s1"))
            case _:
                out.append(events.Status(message=piece))
    for seq, event in enumerate(out, 1):
        event.run, event.seq = "r", seq
    return out


def joined(found: list[events.Event]) -> dict[object, str]:
    texts: dict[object, str] = {}
    for event in found:
        if merge.is_delta(event):
            key = merge.owner(event)
            texts[key] = texts.get(key, "") + event.delta  # type: ignore[attr-defined]
    return texts


def covered(entries: list[base.Entry]) -> list[int]:
    return [seq for entry in entries for seq in range(entry.first, entry.last + 1)]


@given(histories())
def test_merged_entries_cover_the_same_seqs_with_the_same_text(history: list[events.Event]) -> None:
    entries = [base.Entry(event, event.seq, event.seq) for event in history]
    merged = merge.merge(entries)
    assert covered(merged) == [event.seq for event in history]
    assert joined([entry.event for entry in merged]) == joined(history)
    for entry in merged:
        assert entry.event.seq == entry.last
        if entry.first < entry.last:
            assert entry.event.from_seq == entry.first  # type: ignore[attr-defined]


@given(histories(), st.data())
def test_sealed_deltas_can_be_cut_at_any_cursor(history: list[events.Event], data: st.DataObject) -> None:
    deltas = [event for event in history if merge.is_delta(event)]
    if not deltas:
        return
    for seq, event in enumerate(deltas, 1):
        event.seq = seq
    split = data.draw(st.integers(1, len(deltas)))
    sealed = merge.Sealed(deltas[:split], 1)
    if split < len(deltas):
        both = sealed.joined(deltas[split:])
        assert both is not None
        sealed = both
    after = data.draw(st.integers(0, len(deltas) - 1))
    entries = sealed.entries(after)
    assert covered(entries) == list(range(after + 1, len(deltas) + 1))
    assert joined([entry.event for entry in entries]) == joined(list(deltas[after:]))


def test_field_deltas_keep_the_index_of_the_first() -> None:
    deltas = [events.FieldDelta(path="/a", delta=str(i), index=i, run="r", seq=i + 1) for i in range(5)]
    (whole,) = merge.Sealed(deltas, 1).entries(2)
    assert (whole.event.index, whole.event.delta) == (2, "234")  # type: ignore[attr-defined]


def test_an_event_with_unknown_keys_is_never_merged_away() -> None:
    odd = events.TextDelta(block="b", delta="x", extra={"new": 1}, seq=2, run="r")
    plain = [events.TextDelta(block="b", delta="x", seq=seq, run="r") for seq in (1, 3)]
    entries = [base.Entry(e, e.seq, e.seq) for e in (plain[0], odd, plain[1])]
    assert [entry.event for entry in merge.merge(entries)] == [plain[0], odd, plain[1]]


def test_a_long_text_is_sealed_in_linear_time_and_about_its_own_size() -> None:
    parts: list[base.Entry | merge.Sealed] = []
    for start in range(0, 20_000, 50):
        run = [events.TextDelta(block="b", delta="four", run="r", seq=start + i + 1) for i in range(50)]
        both = parts[-1].joined(run) if parts and isinstance(parts[-1], merge.Sealed) else None
        if both is None:
            parts.append(merge.Sealed(run, start + 1))
        else:
            parts[-1] = both
    size = sum(part.size for part in parts if isinstance(part, merge.Sealed))
    assert size < 2 * 80_000
    text = "".join(entry.event.delta for entry in merge.flatten(parts, 0))  # type: ignore[attr-defined]
    assert text == "four" * 20_000
