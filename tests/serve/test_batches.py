"""Replicas are killed while a batch runs: each line has one outcome, what was used counts once, and the batch ends."""

import asyncio
import json
import os
import secrets
import signal
from typing import Any

import httpx
import pytest

from tests.launched import Launched, service_file
from tests.launched import replica_pids as replicas

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHAT = "/v1/chat/completions"
LINES, TOKENS, AT_ONCE = 600, 20, 16
MODEL = {"id": "steady", "kind": "scripted", "tokens": TOKENS, "token_ms": 15}
SERVICE_FILE = service_file(
    [MODEL],
    {"Ingress": 2, "model-steady": 2},
    batches={"lease_s": 2, "max_in_flight": AT_ONCE},
    key_limits={"timeout_s": 2},  # on a busy machine 50 ms pass while nothing is wrong
)


async def ask(service: Launched, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request over a connection of its own, and again while its replica is being replaced."""
    while True:
        try:
            async with service.client() as http:
                answer = await http.request(method, path, **options)
        except httpx.TransportError:
            pass
        else:
            if answer.status_code < 500:
                assert answer.status_code == 200, answer.text
                return answer
        await asyncio.sleep(0.1)


async def begun(service: Launched) -> str:
    new = secrets.token_hex(4)  # nothing that the cache has seen
    lines = [
        {
            "custom_id": f"id-{at}",
            "method": "POST",
            "url": CHAT,
            "body": {"messages": [{"role": "user", "content": f"line {at} {new}"}]},
        }
        for at in range(LINES)
    ]
    content = "\n".join(map(json.dumps, lines))
    made = await ask(service, "POST", "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})
    wanted = {"input_file_id": made.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    return (await ask(service, "POST", "/v1/batches", json=wanted)).json()["id"]


async def done(service: Launched, batch: str, at_least: int) -> dict[str, Any]:
    """Return the batch once so many lines have an outcome."""
    while True:
        found = (await ask(service, "GET", f"/v1/batches/{batch}")).json()
        if found["request_counts"]["completed"] + found["request_counts"]["failed"] >= at_least:
            return found
        await asyncio.sleep(0.05)


async def used(service: Launched) -> int:
    report = (await ask(service, "GET", "/v1/usage", params={"group_by": "model"})).json()
    return sum(row["completion_tokens"] for row in report["data"])


@pytest.mark.parametrize("killed", [("Ingress",)])
async def test_each_line_has_one_outcome_whoever_is_killed(service: Launched, killed: tuple[str, ...]) -> None:
    async with asyncio.timeout(60):
        while not all(len(replicas(service, name)) == 2 for name in ("Ingress", "model-steady")):
            await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        before = await used(service)
        batch = await begun(service)
        for number, name in enumerate(killed, start=1):
            found = await done(service, batch, LINES * number // (len(killed) + 2))
            assert found["status"] == "in_progress"
            os.kill(replicas(service, name)[0], signal.SIGKILL)
        while (found := (await ask(service, "GET", f"/v1/batches/{batch}")).json())["status"] != "completed":
            assert found["status"] in ("in_progress", "finalizing"), found
            await asyncio.sleep(0.1)

    assert found["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    assert found["error_file_id"] is None
    text = (await ask(service, "GET", f"/v1/files/{found['output_file_id']}/content")).text
    outputs = [json.loads(line) for line in text.splitlines()]
    assert [output["custom_id"] for output in outputs] == [f"id-{at}" for at in range(LINES)]
    answers = [output["response"]["body"] for output in outputs]
    for at, answer in enumerate(answers):
        assert answer["choices"][0]["message"]["content"].startswith(f"line {at} "), answer
        assert answer["usage"]["completion_tokens"] == TOKENS
    assert found["usage"]["output_tokens"] == sum(answer["usage"]["completion_tokens"] for answer in answers)
    # What a killed replica had under way is generated again, and no more counts twice; what an ingress replica had
    # counted within its last two seconds is lost with it.
    await asyncio.sleep(3)  # usage reaches the database every two seconds
    assert await used(service) - before <= (LINES + AT_ONCE * 2 * len(killed)) * TOKENS
