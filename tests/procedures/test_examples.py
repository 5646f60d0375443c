"""The example programs are what they say: they pass `check`, and the story runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import Procedure

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.tac"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
async def test_every_example_passes_the_check(path: Path) -> None:
    assert (await Procedure.from_file(path).check()).outputs


async def test_the_story_is_told() -> None:
    path = next(path for path in EXAMPLES if path.name == "story.tac")
    result = await Procedure.from_file(path).run({"topic": "streams"}, model="demo")
    assert result.value["length"] == len(result.value["story"].encode())
