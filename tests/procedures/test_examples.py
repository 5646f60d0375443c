"""The example programs are what they say: they pass `check`, and the story runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace import Procedure, settings
from headrace.providers.registry import Registry
from headrace.providers.scripted import Scripted
from headrace.runlog import MemoryRunLog
from headrace.runs.engine import Engine

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.tac"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
async def test_every_example_passes_the_check(path: Path) -> None:
    assert (await Procedure.from_file(path).check()).outputs


async def test_the_story_is_told() -> None:
    path = next(path for path in EXAMPLES if path.name == "story.tac")
    models = Registry(settings.Settings())
    engine = Engine(models, MemoryRunLog())
    models.register("teller", Scripted("Once upon a time"))
    result = await Procedure.from_file(path).run({"topic": "streams"}, model="teller", engine=engine)
    assert result.value == {"story": "Once upon a time", "length": 16}
    await engine.close()
