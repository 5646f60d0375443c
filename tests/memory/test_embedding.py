from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.memory import embedding, graph, views
from headrace.memory.embedding import hashed, similarity


@given(st.text())
def test_a_vector_depends_on_the_text_alone(text: str) -> None:
    assert hashed(text) == hashed(text)
    assert len(hashed(text)) == embedding.SIZE
    assert similarity(hashed(text), hashed(text)) in (0.0, 1.0)


def test_near_is_nearer_than_far() -> None:
    about = hashed("watering the plant")
    assert similarity(about, hashed("water plants daily")) > similarity(about, hashed("the weather in Oslo"))
    assert similarity(about, hashed("")) == 0.0
    assert hashed("Oslo") == hashed("OSLO!")


def test_the_same_in_every_process() -> None:
    """Of the text's own bytes, not of Python's salted hash."""
    assert [place for place, value in enumerate(hashed("headrace")) if value] == [
        15,
        62,
        72,
        101,
        108,
        109,
        124,
    ]


def test_vectors_are_made_once() -> None:
    made: list[str] = []

    def embed(text: str) -> list[float]:
        made.append(text)
        return [1.0, 0.0]

    vectors = embedding.Vectors(embed)
    for _ in range(3):
        assert vectors.of("a") == (1.0, 0.0)
    assert made == ["a"]
    for number in range(embedding.KEPT + 1):
        vectors.of(str(number))
    assert len(vectors._kept) == embedding.KEPT


def test_of_nodes_with_as_many_words_the_nearest_comes_first(written) -> None:  # type: ignore[no-untyped-def]
    texts = ["plants: watering cans", "plants: stock markets", "plants: nuclear power"]
    state = views.of_facts(written([("completed", text, "Yes.") for text in texts]))
    assert [node.label for node in state.graph.slice("watered plants", 1)] == [texts[0]]
    other = graph.Graph(vectors=embedding.Vectors(lambda text: [1.0, float("nuclear" in text)]))
    for fact in written([("completed", text, "Yes.") for text in texts]):
        other.apply(fact)
    assert [node.label for node in other.slice("plants and nuclear things", 1)] == [texts[2]]
