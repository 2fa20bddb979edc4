"""What only the composed service can show: handles, replicas, real stores, a real cluster."""

import asyncio
import contextlib
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.launched import Launched
from tests.leaving import leave

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATH = "/v1/chat/completions"


def body(model: str = "quick", text: str = "hello world", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def streamed_text(http: httpx.AsyncClient, request: dict[str, Any]) -> str:
    async with http.stream("POST", PATH, json={**request, "stream": True}) as response:
        assert response.status_code == 200
        lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def test_plain_streamed_and_cached_answers_are_equal(service: Launched) -> None:
    async with service.client() as http:
        plain = await http.post(PATH, json=body(text="one two", temperature=0))
        assert plain.headers["x-cache"] == "MISS"
        text = plain.json()["choices"][0]["message"]["content"]
        assert await streamed_text(http, body(text="one two")) == text
        async with asyncio.timeout(5):
            while (hit := await http.post(PATH, json=body(text="one two", temperature=0))).headers["x-cache"] != "HIT":
                await asyncio.sleep(0.05)
        assert hit.json()["choices"] == plain.json()["choices"]
        assert await streamed_text(http, body(text="one two", temperature=0)) == text


async def _model_states(http: httpx.AsyncClient) -> dict[str, str]:
    return {model["id"]: model["status"] for model in (await http.get("/v1/models")).json()["data"]}


async def test_models_and_their_states(service: Launched) -> None:
    async with service.client() as http:
        async with asyncio.timeout(60):
            while "failed" not in (models := await _model_states(http)).values():
                await asyncio.sleep(1)
        assert models == {
            "quick": "ready",
            "slow": "ready",
            "loading": "loading",
            "broken": "failed",
        }
        assert (await http.get("/v1/models/quick")).json()["input_modalities"] == ["text", "image"]
        assert (await http.get("/v1/models/loading")).json()["input_modalities"] == ["text"]
        async with asyncio.timeout(10):  # the other ingress replica learns it on its own
            while (broken := await http.post(PATH, json=body("broken"))).json()["error"]["code"] == "model_loading":
                await asyncio.sleep(0.2)
        assert (broken.status_code, broken.json()["error"]["code"]) == (503, "model_failed")
        assert broken.headers["x-should-retry"] == "false" and "retry-after" not in broken.headers
        admin = {"authorization": f"Bearer {service.chatllm('keys', 'create', 'reader', '--admin').strip()}"}
        told = {model["id"]: model for model in (await http.get("/ready", headers=admin)).json()["models"]}
        assert told["broken"]["reason"].endswith("The scripted model does not load, as its script says.")
        assert "script" not in (await http.get("/ready")).text
        async with asyncio.timeout(20):  # what `chatllm status` reads is written every 2 s
            while f"failed (no replica) {told['broken']['reason']}" not in await asyncio.to_thread(
                service.chatllm, "status"
            ):
                await asyncio.sleep(0.5)
        assert (told["loading"]["phase"], told["loading"]["reason"]) == ("starting", "")
        refused = await http.post(PATH, json=body("loading"), headers={"x-chatllm-wait": "0"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_loading"
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get("/ready")).status_code == 200


@pytest.mark.parametrize("size", [1_000_000, 4_190_000, 4_200_000, 8_380_000])
async def test_a_body_of_any_size_up_to_the_limit_reaches_the_model(service: Launched, size: int) -> None:
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
    request = body("quick")
    request["messages"][0]["content"] = [{"type": "text", "text": "hello"}, url]
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        for more in ({}, {"stream": True}, {"conversation": conversation}):
            async with asyncio.timeout(30):
                answer = await http.post(PATH, json=request | more)
            assert answer.status_code == 200, answer.text[:500]


async def test_a_conversation_over_two_ingress_and_two_model_replicas(service: Launched) -> None:
    """New connections spread over the replicas; no answer depends on which one came before."""
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    for turn in range(6):
        async with service.client() as http:
            request = body(text=f"turn {turn}", conversation=conversation)
            answer = (await http.post(PATH, json=request)).json()
            assert answer["usage"]["prompt_tokens"] == turn * (2 + 16) + 2


async def test_a_hundred_turns_at_once_are_a_hundred_turns(service: Launched) -> None:
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]

    async def turn(number: int) -> int:
        async with service.client() as http:
            return (await http.post(PATH, json=body(text=f"turn {number}", conversation=conversation))).status_code

    statuses = Counter(await asyncio.gather(*map(turn, range(100))))
    assert statuses == {200: 100}
    async with service.client() as http:
        items = await _until_written(http, conversation, 200)
    asked = Counter(item["content"][0]["text"] for item in items if item["role"] == "user")
    assert asked == Counter(f"turn {number}" for number in range(100))


async def _until_written(http: httpx.AsyncClient, conversation: str, count: int) -> list[dict[str, Any]]:
    """Return all items once there are `count`: an interrupted answer is written behind."""
    async with asyncio.timeout(15):
        while True:
            items: list[dict[str, Any]] = []
            after = ""
            while True:
                page = (await http.get(f"/v1/conversations/{conversation}/items?limit=100{after}&order=asc")).json()
                items += page["data"]
                if not page["has_more"]:
                    break
                after = f"&after={page['last_id']}"
            if len(items) >= count:
                return items
            await asyncio.sleep(0.1)


async def test_leaving_stops_the_model(service: Launched) -> None:
    """The unfinished generation is kept as incomplete, which only happens once the model has been stopped."""
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        with contextlib.suppress(httpx.ReadError):
            request = body("slow", stream=True, conversation=conversation)
            async with http.stream("POST", PATH, json=request) as response:
                async for line in response.aiter_lines():
                    if '"hello ' in line:
                        break
        async with asyncio.timeout(5):
            items = await _until_written(http, conversation, 2)
        assert [(item["role"], item["status"]) for item in items] == [
            ("user", "completed"),
            ("assistant", "incomplete"),
        ]


async def test_who_leaves_pays_for_what_was_generated_and_is_no_error(service: Launched) -> None:
    secret = service.chatllm("keys", "create", "impatient", "--concurrent", "1").strip()
    headers = {"authorization": f"Bearer {secret}"}
    assert not await leave(f"{service.url}{PATH}", secret, body("slow"), stays_s=1.5)
    async with service.client() as http, asyncio.timeout(20):
        while (answer := await http.post(PATH, json=body(), headers=headers)).status_code == 429:
            await asyncio.sleep(0.05)
        assert answer.status_code == 200
        total = {"requests": 0}
        while total["requests"] < 2:
            total = (await http.get("/v1/usage", headers=headers)).json()["total"]
            await asyncio.sleep(0.2)
    assert (total["errors"], total["prompt_tokens"]) == (0, 2 + 2)
    assert 16 + 10 <= total["completion_tokens"] <= 16 + 90


async def test_tenants_do_not_see_each_other(service: Launched) -> None:
    other = service.chatllm("keys", "create", "other").strip()
    async with service.client() as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        await http.post(PATH, json=body(text="private", seed=7))
        stranger = {"authorization": f"Bearer {other}"}
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("POST", "/items")):
            items = {"items": [{"role": "user", "content": "x"}]}
            response = await http.request(
                method, f"/v1/conversations/{conversation}{path}", headers=stranger, json=items
            )
            assert response.status_code == 404, (method, path)
        assert (await http.post(PATH, json=body(text="private", seed=7), headers=stranger)).headers["x-cache"] == "MISS"
        assert conversation not in (await http.get("/v1/conversations", headers=stranger)).text


async def test_a_revoked_key_ends_within_five_seconds(service: Launched) -> None:
    secret = service.chatllm("keys", "create", "short-lived").strip()
    headers = {"authorization": f"Bearer {secret}"}
    async with service.client() as http:
        assert (await http.get("/v1/models", headers=headers)).status_code == 200
        service.chatllm("keys", "revoke", "short-lived")
        async with asyncio.timeout(6):
            while (await http.get("/v1/models", headers=headers)).status_code != 401:
                await asyncio.sleep(0.2)


async def test_errors_have_openais_shape_through_the_proxy(service: Launched) -> None:
    async with service.client() as http:
        for response, status in (
            (await http.post(PATH, content=b"{"), 400),
            (await http.post(PATH, json=body("gpt-9")), 404),
            (await http.post(PATH, json=body(max_tokens="x")), 400),
            (await http.post(PATH, json=body(text="word " * 600)), 400),
            (await http.get("/v1/nothing"), 404),
            (await http.post(PATH, json=body(), headers={"authorization": "Bearer wrong"}), 401),
        ):
            assert response.status_code == status
            assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


async def test_a_keys_limits_hold_over_both_ingress_replicas_and_its_usage_is_counted(service: Launched) -> None:
    secret = service.chatllm("keys", "create", "limited", "--rpm", "20", "--monthly-tokens", "100000").strip()
    headers = {"authorization": f"Bearer {secret}"}

    async def ask(number: int) -> int:
        async with service.client() as http:  # a connection of its own, to either replica
            response = await http.post(PATH, json=body(text=f"limited {number}"), headers=headers)
        if response.status_code == 429:
            assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.headers["x-ratelimit-limit-requests"] == "20"
        return response.status_code

    async with asyncio.timeout(30):
        statuses = Counter(await asyncio.gather(*map(ask, range(60))))
    assert set(statuses) == {200, 429}
    assert 20 <= statuses[200] <= 30  # one more for every three seconds that it took

    async def usage() -> list[dict[str, Any]]:
        return json.loads(await asyncio.to_thread(service.chatllm, "usage", "limited", "--json"))

    rows = await usage()
    async with asyncio.timeout(20):
        while sum(row["requests"] for row in rows) < statuses[200]:
            await asyncio.sleep(0.5)
            rows = await usage()
    assert [(row["model"], row["requests"], row["errors"]) for row in rows] == [("quick", statuses[200], 0)]
    assert (rows[0]["prompt_tokens"], rows[0]["completion_tokens"]) == (2 * statuses[200], 16 * statuses[200])

    service.chatllm("keys", "update", "limited", "--rpm", "0")
    async with asyncio.timeout(6), service.client() as http:
        while (await http.get("/v1/models", headers=headers)).status_code == 429:
            await asyncio.sleep(0.2)
