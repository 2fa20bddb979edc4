"""What is promised of an ingress replica that is killed: what a client has seen to its end is stored."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.history.postgres import PostgresHistory
from deployments.history.stored.postgres import PostgresCompletions
from deployments.infra.postgres.database import Database

ROOT = Path(__file__).parents[2]
PATH = "/v1/chat/completions"
REPLICA = """
import asyncio, sys
from deployments.config import BatchSettings, ScriptedModel
from tests.integration.serving import served

async def main():
    model = ScriptedModel(id="model", kind="scripted", tokens=200, token_ms=5)
    batches = BatchSettings(lease_s=1, max_in_flight=16)
    async with served(sys.argv[1], "redis://127.0.0.1:1/0", model, batches=batches) as service:
        print(service.url, service.key, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@asynccontextmanager
async def replica(database_url: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """Run an ingress replica in a process of its own, and end it as hard as can be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPLICA, database_url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        url, key = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().split()
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
            yield process, http
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(http: httpx.AsyncClient, conversation: str, tokens: int, stream: bool) -> str | None:
    """Return the answer's text if it came to its end, else None."""
    request: dict[str, Any] = {
        "messages": [{"role": "user", "content": f"word{tokens}"}],
        "max_tokens": tokens,
        "conversation": conversation,
        "store": True,
    }
    try:
        if not stream:
            return (await http.post(PATH, json=request)).json()["choices"][0]["message"]["content"]
        async with http.stream("POST", PATH, json={**request, "stream": True}) as response:
            lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    except httpx.HTTPError:
        return None
    assert lines[-1] == "[DONE]"
    return "".join(json.loads(line)["choices"][0]["delta"].get("content") or "" for line in lines[:-1])


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
async def test_what_was_answered_to_its_end_is_stored_once(postgres_url: str, database: Database, stream: bool) -> None:
    history, completions = PostgresHistory(database), PostgresCompletions(database)
    async with replica(postgres_url) as (process, http):
        names = [(await http.post("/v1/conversations", json={})).json()["id"] for _ in range(20)]
        asked = {
            asyncio.create_task(ask(http, name, 10 + 8 * number, stream)): name for number, name in enumerate(names)
        }
        for finished in asyncio.as_completed(asked, timeout=60):
            await finished
            if sum(task.done() for task in asked) >= len(asked) // 2:
                break
        process.kill()
        texts = {asked[task]: await task for task in asked}

    tenant = (await database.fetch("SELECT tenant FROM conversations LIMIT 1"))[0]["tenant"]
    answered = {name for name, text in texts.items() if text is not None}
    assert 10 <= len(answered) < 20
    for name in names:
        items = (await history.items(tenant, name, order="asc")).data
        said = [(item.role, item.status, item.payload["content"][0]["text"]) for item in items]
        question = ("user", "completed", said[0][2]) if said else None
        if name in answered:
            assert said == [question, ("assistant", "completed", texts[name])]
        else:
            assert len(said) <= 2 and [role for role, *_ in said] == ["user", "assistant"][: len(said)]
    stored = (await completions.completions(tenant, limit=100)).data
    kept = [stored_one.completion["choices"][0]["message"]["content"] for stored_one in stored]
    assert len(kept) == len(set(kept)) and {texts[name] for name in answered} <= set(kept)

    cut_short = next(name for name in names if name not in answered)
    async with replica(postgres_url) as (_, other):
        other.headers["authorization"] = http.headers["authorization"]
        text = await ask(other, cut_short, 5, stream)
        last = (await history.items(tenant, cut_short, limit=2)).data
        assert [item.payload["content"][0]["text"] for item in last] == [text, "word5"]


LINES = 200


async def begun_batch(http: httpx.AsyncClient) -> str:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
    lines = [{"custom_id": f"id-{at}", "method": "POST", "url": PATH, "body": body} for at in range(LINES)]
    content = "\n".join(map(json.dumps, lines))
    made = await http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})
    wanted = {"input_file_id": made.json()["id"], "endpoint": PATH, "completion_window": "24h"}
    return (await http.post("/v1/batches", json=wanted, headers={"cache-control": "no-cache"})).json()["id"]


async def test_the_lines_of_a_batch_have_one_answer_each_whoever_dies(postgres_url: str, database: Database) -> None:
    async with replica(postgres_url) as (process, http):
        batch = await begun_batch(http)
        async with asyncio.timeout(60):
            while (await http.get(f"/v1/batches/{batch}")).json()["request_counts"]["completed"] < LINES // 4:
                await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
    answered = await answered_lines(database, batch)
    assert LINES // 4 <= len(answered) < LINES
    async with replica(postgres_url) as (_, other):
        other.headers["authorization"] = http.headers["authorization"]
        async with asyncio.timeout(60):
            while (found := (await other.get(f"/v1/batches/{batch}")).json())["status"] != "completed":
                answered = {**await answered_lines(database, batch), **answered}
                await asyncio.sleep(0.1)
        assert found["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
        content = (await other.get(f"/v1/files/{found['output_file_id']}/content")).text

    outputs = {line["custom_id"]: line for line in map(json.loads, content.splitlines())}
    assert list(outputs) == [f"id-{at}" for at in range(LINES)] and content.count("\n") == LINES
    # What had an answer when the replica died keeps this one: it was not answered again.
    assert {name: outputs[name]["id"] for name in answered} == answered


async def answered_lines(database: Database, batch: str) -> dict[str, str]:
    """Return the ids of the outcomes that are stored by now, by the lines' own."""
    rows = await database.fetch("SELECT outcome FROM batch_lines WHERE batch_id = $1 AND outcome IS NOT NULL", batch)
    return {line["custom_id"]: line["id"] for line in (json.loads(row["outcome"]) for row in rows)}
