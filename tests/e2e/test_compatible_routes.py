"""The compatible routes of a server process on the real engine, read by the clients they are made for."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from headrace.testing.engine import Engine as RealEngine
from headrace.testing.server import Server

ENDLESS = {"ignore_eos": True}


@pytest.fixture(scope="module")
def server(engine: RealEngine) -> Iterator[Server]:
    environment = {"OPENAI_BASE_URL": f"{engine.url}/v1", "OPENAI_API_KEY": "none"}
    with Server(environment=environment) as running:
        yield running


@pytest.mark.parametrize("model", ["openai:tiny", "openai-responses:tiny"])
async def test_responses_by_the_official_client(server: Server, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        asked = {"model": model, "input": "go", "max_output_tokens": 60, "extra_body": ENDLESS}
        frames = [event async for event in await client.responses.create(**asked, stream=True)]
        text = "".join(frame.delta for frame in frames if frame.type == "response.output_text.delta")
        last = frames[-1].response
        assert text
        assert last.output_text == text
        assert last.status in ("completed", "incomplete")  # the engine's own Responses never says which
        assert last.usage.output_tokens == 60
        half = frames[len(frames) // 2].sequence_number
        rest = await client.responses.retrieve(last.id, stream=True, starting_after=half)
        again = [event async for event in rest]
        before = [frame for frame in frames if frame.sequence_number <= half]
        both = [f.delta for f in [*before, *again] if f.type == "response.output_text.delta"]
        assert "".join(both) == text
        if model.startswith("openai-responses"):
            return  # the engine's own Responses takes no answer of an assistant's as text
        whole = await client.responses.create(**asked, previous_response_id=last.id)
        assert whole.output_text
        assert whole.previous_response_id == last.id
        assert (await client.responses.retrieve(whole.id)).output_text == whole.output_text
