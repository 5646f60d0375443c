"""The provider that is told in the prompt what to say."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from headrace.testing import chat, playback


async def _ask(url: str, *messages: dict[str, Any], stream: bool = False) -> Any:
    async with aiohttp.ClientSession() as http:
        body = {"messages": list(messages), **({"stream": True} if stream else {})}
        async with http.post(url, json=body) as reply:
            text = await reply.text()
    if not stream:
        return json.loads(text)["choices"][0]
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


async def test_it_does_what_it_is_told() -> None:
    order = {"role": "user", "content": 'call look {"word": "race"} || say  two  words || json {"a": 1}'}
    async with playback.ScriptedHTTP(chat.obey()) as server:
        first = await _ask(server.url, order)
        call = first["message"]["tool_calls"][0]
        assert (first["finish_reason"], call["function"]["name"]) == ("tool_calls", "look")
        assert json.loads(call["function"]["arguments"]) == {"word": "race"}
        answered = [order, {"role": "assistant", "content": None}, {"role": "tool", "content": "x"}]
        pieces = await _ask(server.url, *answered, stream=True)
        words = [chunk["choices"][0]["delta"].get("content", "") for chunk in pieces if chunk["choices"]]
        assert "".join(words) == " two  words"
        assert pieces[-1]["usage"] == chat.USAGE
        twice = [
            *answered,
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": "That is wrong"},
        ]
        assert (await _ask(server.url, *twice))["message"]["content"] == '{"a": 1}'
        assert (await _ask(server.url, {"role": "user", "content": "Hi"}))["message"][
            "content"
        ] == "Fine, then."
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/v1/models") as reply:
            assert (await reply.json())["data"][0]["id"] == chat.MODEL


async def test_a_call_forms_in_pieces() -> None:
    order = {"role": "user", "content": 'call look {"word": "a long word that takes several pieces"}'}
    async with playback.ScriptedHTTP(chat.obey()) as server:
        chunks = await _ask(server.url, order, stream=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert parts[0]["function"]["name"] == "look"
    assert len(parts) > 3
    assert json.loads("".join(part["function"]["arguments"] for part in parts))["word"].startswith("a long")
