"""Hints and labels of real clients: accepted on every endpoint that generates, streamed or not."""

from typing import Any

import pytest

from deployments.chat.parameters import HINTS
from tests.unit.api.conftest import Service

TOP = {name: {"any": "value"} for name in HINTS if "." not in name}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
RESPONSE: dict[str, Any] = {
    "input": "hello",
    "text": {"verbosity": "low"},
    "reasoning": {"summary": "concise", "generate_summary": "detailed", "context": "all_turns", "mode": "pro"},
    "include": ["reasoning.encrypted_content"],
}
LABELS = {"user": "ann", "safety_identifier": "ann", "prompt_cache_key": "ann"}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", {"prompt": "hello"}),
        ("/v1/responses", RESPONSE),
        ("/v1/responses", RESPONSE | {"store": False}),
    ],
)
async def test_hints_are_accepted(service: Service, path: str, body: dict[str, Any], streams: bool) -> None:
    stream = {"stream": True, "stream_options": {"include_obfuscation": True}} if streams else {}
    answer = await service.http.post(path, json={**TOP, **body, **LABELS, **stream})
    assert answer.status_code == 200, answer.text


async def test_a_response_returns_the_hints_that_openais_object_has(service: Service) -> None:
    sent = {**TOP, **RESPONSE, **LABELS, "service_tier": "priority"}
    made = (await service.http.post("/v1/responses", json=sent)).json()
    kept = (await service.http.get(f"/v1/responses/{made['id']}?include[]=reasoning.encrypted_content")).json()
    assert kept == made
    assert made["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert made["reasoning"] == {"effort": None, "summary": "concise"}
    assert {name: made[name] for name in LABELS} == LABELS
    assert made["service_tier"] == "default"
    assert "client_metadata" not in made
    assert not any("encrypted_content" in item for item in made["output"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_sampling_is_checked_alike(service: Service, path: str) -> None:
    ask = CHAT if "chat" in path else {"input": "hello"}
    for fine in ({"ignore_eos": True}, {"top_k": 3, "min_p": 0.1}, {"bad_words": ["x"]}, {"stop_token_ids": [2]}):
        assert (await service.http.post(path, json=ask | fine)).status_code == 200
    for wrong in ({"ignore_eos": "yes"}, {"top_k": -2}, {"min_p": 2}, {"repetition_penalty": 0}, {"bad_words": [""]}):
        refused = await service.http.post(path, json=ask | wrong)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"].startswith(next(iter(wrong)))


async def test_the_documentation_names_each_hint(service: Service) -> None:
    about = (await service.http.get("/openapi.json")).json()["info"]["description"]
    assert [name for name in HINTS if f"`{name}`" not in about] == []
