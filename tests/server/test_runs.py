"""The routes under /v1/runs: every answer and every refusal."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace import errors
from headrace.ledger.memory import MemoryLedger
from headrace.providers.scripted import Call, Fail, Pause, Say

UNKNOWN = "run_01JD0000000000000000000000"


async def test_start_answers_at_once(serving: Any) -> None:
    async with serving([Pause(1), Say("Hello")]) as site:
        reply = await site.post("/v1/runs", {"input": "Hi", "metadata": {"a": 1}})
        assert reply.status == 201
        run = reply.json["run"]
        assert reply.json["status"] in ("queued", "running")
        assert reply.json["events"] == f"/v1/runs/{run}/events"
        assert reply.headers["location"] == f"/v1/runs/{run}"
        assert reply.headers["x-headrace-run"] == run
        found = (await site.get(f"/v1/runs/{run}")).json
        assert found["run"] == run
        assert found["kind"] == "answer"
        assert found["model"] == "scripted"
        assert found["metadata"] == {"a": 1}
        assert found["status"] in ("queued", "running")
        assert "outcome" not in found
        site.gate.release()
        await site.ended(run)
        found = (await site.get(f"/v1/runs/{run}")).json
        assert (found["status"], found["outcome"], found["finish_reason"]) == ("ended", "completed", "stop")
        assert found["result"]["text"] == "Hello"


async def test_start_that_streams(serving: Any, tools: Any) -> None:
    async with serving(Say("Hello world")) as site:
        headers = {"accept": "text/event-stream"}
        async with site.http.post("/v1/runs", json={"input": "Hi"}, headers=headers) as answer:
            assert answer.status == 201
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-cache, no-transform"
            run = answer.headers["x-headrace-run"]
            assert answer.headers["location"] == f"/v1/runs/{run}"
            found = [json.loads(event.data) async for event in tools.events_of(answer)]
        tools.check_covered(found)
        assert found[0]["run"] == run
        assert tools.text_of(found) == "Hello world"


async def test_everything_a_body_can_say_reaches_the_provider(serving: Any) -> None:
    async with serving(Call("look", {"at": "it"})) as site:
        run = await site.start(
            "Hi",
            system="Be brief",
            temperature=0.5,
            top_p=0.9,
            max_tokens=7,
            seed=3,
            stop=["END"],
            reasoning_effort="low",
            output_schema={"type": "object"},
            tools=[{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
            tool_choice={"type": "function", "function": {"name": "look"}},
            options={"x": 1},
            timeouts={"stall": 5},
        )
        await site.ended(run)
        asked = site.provider.requests[0]
        assert [(m.role, m.text) for m in asked.messages] == [("system", "Be brief"), ("user", "Hi")]
        assert (asked.temperature, asked.top_p, asked.max_tokens, asked.seed) == (0.5, 0.9, 7, 3)
        assert (asked.stop, asked.reasoning_effort, asked.output_schema) == (
            ("END",),
            "low",
            {"type": "object"},
        )
        assert (asked.tools[0].name, asked.tool_choice, asked.options) == ("look", "look", {"x": 1})
        end = (await site.get(f"/v1/runs/{run}")).json
        assert end["finish_reason"] == "tool-calls"
        assert end["result"]["tool_calls"] == [{"id": "call_1", "name": "look", "arguments": {"at": "it"}}]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b"\xff\xfe", "body"),
        (b"{}", "input"),
        (b'{"input":""}', "input"),
        (b'{"input":"a","messages":[]}', "input"),
        (b'{"input":"a","inputt":1}', "inputt"),
        (b'{"input":1}', "input"),
        (b'{"input":"a","temperature":"hot"}', "temperature"),
        (b'{"input":"a","timeouts":{"stal":1}}', "stal"),
        (b'{"input":"a","on_disconnect":"explode"}', "on_disconnect"),
        (b'{"input":"a","tools":["search"]}', "tools[0]"),
        (b'{"input":"a","tool_choice":{"x":1}}', "tool_choice"),
        (b'{"input":"a","conversation":"a b"}', "conversation"),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":[{"role":"king","content":"a"}]}', "messages[0].role"),
        (b'{"template":"[[a]]","input":"a"}', "input"),
        (b'{"template":"[[a]]","tools":[{"type":"function","function":{"name":"x"}}]}', "tools"),
        (b'{"template":"[[a]]","max_concurrency":0}', "max_concurrency"),
        (b'{"input":"a","inputs":{"x":1}}', "inputs"),
        (b'{"procedure":"x.lua","input":"a"}', "procedure"),
        (b'{"input":"\\ud800"}', "body"),
        (b'{"input":"a","metadata":{"x":1e400}}', "metadata[...]"),
        (b'{"input":"a","metadata":{"x":' + b"[" * 100 + b"]" * 100 + b"}}", "metadata"),
        (b'{"input":"a","options":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "body"),
        (b'{"input":"a","timeouts":{"total":0}}', "timeouts.total"),
        (b'{"input":"a","tools":[{"type":"function","function":{"name":""}}]}', "tools[0]"),
        (b'{"messages":[{"role":"assistant","tool_calls":5}]}', "messages[0].tool_calls"),
        (b'{"input":"a","output_schema":{"type":"nothing"}}', "output_schema/type"),
        (
            b'{"input":"a","output_schema":{"properties":{"a":{"$ref":"http://h/s"}}}}',
            "output_schema/properties/a/$ref",
        ),
        (
            b'{"input":"a","output_schema":{"properties":{"a":{"pattern":"("}}}}',
            "output_schema/properties/a/pattern",
        ),
        (b'{"input":"a","output_retries":11}', "output_retries"),
    ],
)
async def test_a_body_that_does_not_fit(serving: Any, body: bytes, where: str) -> None:
    async with serving() as site:
        reply = await site.post("/v1/runs", data=body)
        assert (reply.status, reply.error) == (400, "bad-request"), reply.body
        assert reply.json["error"]["details"]["where"] == where
        assert (await site.get("/v1/runs")).json == {"runs": []}


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


async def test_a_structured_answer(serving: Any, tools: Any) -> None:
    ledger = MemoryLedger()
    answers = [[Say('{"name": "gate", "n": "many"}')], [Say('{"name": "gate", "n": 3}')]]
    async with serving(answers, ledger=ledger) as site:
        body = {"input": "Hi", "output_schema": SCHEMA}
        async with site.http.post("/v1/runs", json=body, headers={"accept": "text/event-stream"}) as answer:
            found = [json.loads(event.data) async for event in tools.events_of(answer)]
        run = found[0]["run"]
        kinds = [event["type"] for event in found]
        assert kinds.index("output-reset") < kinds.index("output") < kinds.index("run-end")
        assert [e["value"] for e in found if e["type"] == "field-end"][-2:] == ["gate", 3]
        result = (await site.get(f"/v1/runs/{run}")).json["result"]
        assert result["output"] == {"name": "gate", "n": 3}
        assert result["text"] == '{"name": "gate", "n": 3}'
        assert [rejection["reason"] for rejection in result["rejections"]] == ["early-reject"]
        facts = await ledger.facts(run)
        assert [fact.content for fact in facts] == ["Hi", '{"name": "gate", "n": 3}']


async def test_a_structured_answer_that_never_fits(serving: Any) -> None:
    async with serving(Say("never")) as site:
        reply = await site.post("/v1/runs", {"input": "Hi", "output_schema": SCHEMA, "output_retries": 1})
        await site.ended(reply.json["run"])
        error = (await site.get(f"/v1/runs/{reply.json['run']}")).json["error"]
        assert error["code"] == "output-rejected"
        assert [attempt["text"] for attempt in error["details"]["attempts"]] == ["never", "never"]
        assert len(site.provider.calls) == 2


async def test_clients_of_openai_check_for_themselves(serving: Any) -> None:
    async with serving(Say("never")) as site:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "response_format": form}
        reply = await site.post("/v1/chat/completions", body)
        assert reply.json["choices"][0]["message"]["content"] == "never"
        body = {
            "model": "scripted",
            "input": "Hi",
            "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        }
        reply = await site.post("/v1/responses", body)
        assert reply.json["output"][0]["content"][0]["text"] == "never"
        assert [request.output_schema for request in site.provider.requests] == [SCHEMA, SCHEMA]


async def test_a_template(serving: Any) -> None:
    async with serving(lambda request: request.messages[-1].text) as site:
        body = {"template": "{{ x }} [[a]]<checkpoint>[[b]]", "inputs": {"x": "[[evil]]"}, "cache": False}
        reply = await site.post("/v1/runs", body)
        assert reply.status == 201, reply.body
        run = reply.json["run"]
        await site.ended(run)
        found = (await site.get(f"/v1/runs/{run}")).json
        assert found["kind"] == "template"
        assert found["result"]["values"] == {"a": "[[evil]]", "b": "b:"}
        assert found["result"]["early_termination"] is False


@pytest.mark.parametrize(
    ("template", "line", "column"),
    [("ok\n  [[pick:x]]", 2, 3), ('<include src="/etc/passwd"/>', 1, 1), ("{{ x }} [[a]]", 1, 1)],
)
async def test_a_template_with_faults(serving: Any, template: str, line: int, column: int) -> None:
    async with serving() as site:
        reply = await site.post("/v1/runs", {"template": template, "strict": True})
        assert (reply.status, reply.error) == (422, "template-error")
        (fault,) = reply.json["error"]["details"]["errors"]
        assert (fault["line"], fault["column"]) == (line, column)
        assert fault["message"]
        assert (await site.get("/v1/runs")).json == {"runs": []}


async def test_odd_bodies_that_fit(serving: Any) -> None:
    """What one client sent must not break what others read."""
    async with serving(lambda request, number: "Hi") as site:
        for body in (
            b'{"input":"a","metadata":{"x":' + b"[" * 60 + b"]" * 60 + b"}}",
            b'{"input":"a","metadata":{"x":' + b"9" * 400 + b"}}",
            b'{"input":"a","seed":99999999999999999999999}',
            b'{"input":"a\\u0000b","metadata":{"\\u0000":1,"":""}}',
            b'{"input":"a","model":"\\u001b[31m\\n\\u2028"}',
        ):
            reply = await site.post("/v1/runs", data=body)
            assert reply.status == 201, body[:80]
            await site.read(reply.json["run"])
        assert len((await site.get("/v1/runs")).json["runs"]) == 5
        assert (await site.get("/v1/ledger/verify")).json["ok"] is True


async def test_limits(serving: Any) -> None:
    async with serving(max_body_bytes=2000, max_prompt_chars=100) as site:
        reply = await site.post("/v1/runs", {"input": "x" * 101})
        assert (reply.status, reply.error) == (413, "too-large")
        assert reply.json["error"]["details"] == {"where": "messages", "limit": 100}
        reply = await site.post("/v1/runs", {"input": "x" * 3000})
        assert (reply.status, reply.error) == (413, "too-large")
        assert reply.json["error"]["details"] == {"where": "body", "limit": 2000}

        async def endless() -> Any:
            for _ in range(10):
                yield b"x" * 500

        reply = await site.post("/v1/runs", data=endless())
        assert (reply.status, reply.error) == (413, "too-large")
    async with serving() as site:
        reply = await site.post("/v1/runs", {"input": "x", "metadata": {"a": "x" * 20_000}})
        assert (reply.status, reply.error) == (413, "too-large")
        thread = [{"role": "user", "content": "x"}] * 5000
        assert (await site.post("/v1/runs", {"messages": thread})).error == "too-large"


async def test_too_many_runs(serving: Any) -> None:
    async with serving(Pause(1), max_concurrent_runs=1, max_queue_length=1) as site:
        first = await site.start()
        while site.engine.running < 1:
            await asyncio.sleep(0)
        second = await site.start()
        while site.engine.queued < 1:
            await asyncio.sleep(0)
        reply = await site.post("/v1/runs", {"input": "Hi"})
        assert (reply.status, reply.error) == (429, "too-many")
        assert int(reply.headers["retry-after"]) >= 1
        assert (await site.get(f"/v1/runs/{second}")).json["status"] == "queued"
        await site.post(f"/v1/runs/{first}/cancel")
        site.gate.release()
        await site.ended(second)


async def test_a_run_that_fails_says_so(serving: Any) -> None:
    error = errors.ProviderError("the upstream is on fire", code="provider-error", retryable=False)
    async with serving([Say("so far "), Fail(error)]) as site:
        run = await site.start()
        end = (await site.read(run))[-1]
        assert (end["outcome"], end["error"]["code"]) == ("failed", "provider-error")
        assert (await site.get(f"/v1/runs/{run}")).json["error"] == end["error"]


async def test_an_unknown_model_fails_the_run(serving: Any) -> None:
    async with serving() as site:
        run = await site.start(model="nobody:knows")
        end = (await site.read(run))[-1]
        assert end["outcome"] == "failed"
        assert "nobody" in end["error"]["message"]


async def test_list_newest_first_in_pages(serving: Any) -> None:
    async with serving() as site:
        made = [await site.start(str(i)) for i in range(7)]
        for run in made:
            await site.ended(run)
        seen: list[str] = []
        params: dict[str, Any] = {"limit": 3}
        while True:
            page = (await site.get("/v1/runs", params=params)).json
            seen += [item["run"] for item in page["runs"]]
            if "next" not in page:
                break
            params["before"] = page["next"]
        assert seen == sorted(made, reverse=True)
        for bad in ("0", "201", "x"):
            reply = await site.get("/v1/runs", params={"limit": bad})
            assert (reply.status, reply.error) == (422, "bad-request")


async def test_cancel_is_idempotent(serving: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        run = await site.start()
        while not site.provider.calls or not site.engine.active(run).writer.answer.text:
            await asyncio.sleep(0)
        first = await site.post(f"/v1/runs/{run}/cancel")
        assert (first.status, first.json["outcome"], first.json["status"]) == (200, "cancelled", "ended")
        assert site.provider.calls[0].closed_early
        assert (await site.post(f"/v1/runs/{run}/cancel")).json == first.json
        found = await site.read(run)
        assert found[-1]["outcome"] == "cancelled"
        done = await site.start("again")
        site.gate.release()
        await site.ended(done)
        assert (await site.post(f"/v1/runs/{done}/cancel")).json["outcome"] == "completed"
        reply = await site.post(f"/v1/runs/{UNKNOWN}/cancel")
        assert (reply.status, reply.error) == (404, "run-not-found")


async def test_a_stop_that_races_with_the_end(serving: Any, tools: Any) -> None:
    async with serving([Say("one "), Pause(1), Say("two")]) as site:
        for i in range(30):
            run = await site.start()
            reading = asyncio.create_task(site.read(run))
            stops = [asyncio.create_task(site.post(f"/v1/runs/{run}/cancel")) for _ in range(3)]
            if i % 2:
                await asyncio.sleep(0.0002 * i)
            site.gate.release()
            outcomes = {reply.json["outcome"] for reply in await asyncio.gather(*stops)}
            found = await reading
            tools.check_covered(found)
            assert outcomes == {found[-1]["outcome"]}
            while site.gate._value:
                await site.gate.acquire()


async def test_there_are_no_questions_yet(serving: Any) -> None:
    async with serving() as site:
        run = await site.start()
        reply = await site.post(f"/v1/runs/{run}/responses/q1", {"value": 1})
        assert (reply.status, reply.error) == (404, "bad-request")
        reply = await site.post(f"/v1/runs/{UNKNOWN}/responses/q1", {"value": 1})
        assert (reply.status, reply.error) == (404, "run-not-found")
        reply = await site.post(f"/v1/runs/{run}/responses/q1", {"nothing": 1})
        assert (reply.status, reply.error) == (400, "bad-request")


# -- idempotency ------------------------------------------------------------------------------------------


async def test_the_same_key_is_the_same_run(serving: Any) -> None:
    key = {"idempotency-key": "abc"}
    async with serving() as site:
        replies = await asyncio.gather(
            *(site.post("/v1/runs", {"input": "Hi"}, headers=key) for _ in range(8))
        )
        assert {reply.status for reply in replies} == {201}
        assert len({reply.json["run"] for reply in replies}) == 1
        assert len([reply for reply in replies if "idempotent-replayed" not in reply.headers]) == 1
        assert len((await site.get("/v1/runs")).json["runs"]) == 1
        # the order of keys in the JSON says nothing
        again = await site.post(
            "/v1/runs", data=b'{"metadata":{},"input":"Hi"}', headers={**key, "accept": "text/event-stream"}
        )
        assert again.headers["x-headrace-run"] == replies[0].json["run"]
        assert b"run-end" in again.body
        other = await site.post("/v1/runs", {"input": "Bye"}, headers=key)
        assert (other.status, other.error) == (400, "bad-request")
        assert other.json["error"]["details"]["run"] == replies[0].json["run"]


async def test_the_same_key_after_a_restart(serving: Any) -> None:
    ledger = _Kept()
    key = {"idempotency-key": "abc"}
    async with serving(ledger=ledger) as site:
        run = await site.start(headers=key)
        await site.ended(run)
    async with serving(ledger=ledger) as site:
        assert await site.start(headers=key) == run
        reply = await site.post(
            "/v1/runs", {"input": "Hello"}, headers={**key, "accept": "text/event-stream"}
        )
        assert (reply.status, reply.error) == (410, "retention-passed")
        assert reply.json["error"]["details"]["run"]["result"]["text"] == "Hello world"
        assert (await site.post("/v1/runs", {"input": "Bye"}, headers=key)).error == "bad-request"
        assert (await site.get(f"/v1/runs/{run}")).json["outcome"] == "completed"
        assert (await site.get(f"/v1/runs/{run}/events")).error == "retention-passed"
        assert (await site.post(f"/v1/runs/{run}/cancel")).json["outcome"] == "completed"
        assert [item["run"] for item in (await site.get("/v1/runs")).json["runs"]] == [run]
        assert not site.provider.calls


class _Kept(MemoryLedger):
    """A ledger that outlives its server."""

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "ü"])
async def test_a_key_that_cannot_be_one(serving: Any, key: str) -> None:
    async with serving() as site:
        reply = await site.post("/v1/runs", {"input": "Hi"}, headers={"idempotency-key": key})
        assert (reply.status, reply.error) == (400, "bad-request")


async def test_the_stores_fault_is_told(serving: Any) -> None:
    class Broken(MemoryLedger):
        async def begin(self, *arguments: Any) -> Any:
            raise errors.StoreError("the disk is full; make room")

    async with serving(ledger=Broken()) as site:
        reply = await site.post("/v1/runs", {"input": "Hi"}, headers={"idempotency-key": "k"})
        assert (reply.status, reply.error) == (503, "store-unavailable")
        assert "retry-after" in reply.headers
        assert site.engine.all_active() == []
