"""Whose prompts share vLLM's prefix cache: those of one key, unless the configuration says otherwise."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import orjson
import pytest

from deployments.config import CacheSettings, ModelCacheSettings, ScriptedModel
from deployments.models.protocol import Message, ModelRequest
from tests.unit.api.conftest import Service, running

ASK = [{"role": "user", "content": "hello"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASK},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/embeddings": {"input": "hello"},
}


def model(shares: bool | None = None) -> ScriptedModel:
    cache = ModelCacheSettings(requests="off", shared_prefixes=shares)
    return ScriptedModel(id="quick", kind="scripted", tokens=2, embedding_dimensions=4, cache=cache)


def salts_sent(service: Service) -> list[str | None]:
    """Return the list to which the salt of each request that reaches the model is added."""
    replica = service.models.replicas["quick"]
    generate, salts = replica.generate, []

    async def noted(model_request: ModelRequest) -> AsyncGenerator[Message]:
        salts.append(orjson.loads(model_request.body).get("cache_salt"))
        async for message in generate(model_request):
            yield message

    replica.generate = noted  # type: ignore[method-assign]
    return salts


async def two_keys(service: Service, path: str, body: dict[str, Any], theirs: dict[str, Any] | None = None) -> None:
    _, secret = await service.keys.create("other")
    assert (await service.http.post(path, json=body)).status_code == 200
    async with httpx.AsyncClient(base_url=service.url, headers={"authorization": f"Bearer {secret}"}) as other:
        assert (await other.post(path, json=theirs or body)).status_code == 200


@pytest.mark.parametrize("path", REQUESTS)
async def test_each_key_has_its_own_salt(path: str) -> None:
    async with running(model()) as service:
        salts = salts_sent(service)
        await two_keys(service, path, REQUESTS[path])
        await service.http.post(path, json=REQUESTS[path])
    first, other, again = salts
    assert first and other and first != other
    assert again == first


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize(("of_model", "of_cache"), [(True, False), (None, True)])
async def test_the_configuration_can_share_it(path: str, of_model: bool | None, of_cache: bool) -> None:
    async with running(model(of_model), cache=CacheSettings(shared=of_cache)) as service:
        salts = salts_sent(service)
        await two_keys(service, path, REQUESTS[path])
    assert salts[0] == salts[1]


async def test_a_model_can_keep_prefixes_apart_though_answers_are_shared() -> None:
    async with running(model(False), cache=CacheSettings(shared=True)) as service:
        salts = salts_sent(service)
        await two_keys(service, "/v1/chat/completions", {"messages": ASK})
    assert salts[0] != salts[1]


@pytest.mark.parametrize("path", REQUESTS)
async def test_a_clients_own_salt_divides_its_prompts_and_opens_no_others(path: str) -> None:
    async with running(model()) as service:
        salts = salts_sent(service)
        await two_keys(service, path, {**REQUESTS[path], "cache_salt": "a"})
        await service.http.post(path, json=REQUESTS[path])
        guessed = {**REQUESTS[path], "cache_salt": salts[1]}
        assert (await service.http.post(path, json=guessed)).status_code == 200
        wrong = await service.http.post(path, json={**REQUESTS[path], "cache_salt": 7})
    assert len(set(salts)) == 4
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "cache_salt"
