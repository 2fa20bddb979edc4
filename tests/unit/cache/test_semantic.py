"""The semantic cache that comes with the service: whom it answers, what it keeps, and what a look-up costs."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import Generation
from pydantic import ValidationError

from deployments.cache.similar.plugged import loaded
from deployments.cache.similar.semantic import Embedder, SemanticCache
from deployments.cache.similar.vectors import Vector, Vectors
from deployments.config import SEMANTIC_CACHE, CacheSettings, ScriptedModel, SemanticSettings
from tests.unit.api.conftest import Service, running

SETTINGS = SemanticSettings(model="m", min_similarity=0.9)
RHINE, RHINE_TOO, ELBE = "How long is the Rhine?", "What is the length of the Rhine?", "Who owns the Elbe?"
DIRECTIONS = {RHINE: (1, 0.1, 0), RHINE_TOO: (1, 0.2, 0), ELBE: (0, 0, 1)}


def unit(*numbers: float) -> Vector:
    vector = np.array(numbers, np.float32)
    return vector / np.float32(np.linalg.norm(vector))


class Fake:
    """Embeds texts by a table, others in directions of their own, but for a last word "then"; notes them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, text: str) -> Vector:
        self.asked.append(text)
        if text in DIRECTIONS:
            return unit(*DIRECTIONS[text], *[0] * 13)
        return unit(*np.random.default_rng([*text.removesuffix(", then?").rstrip("?").encode()]).normal(size=16))


def llm(tenant: str = "t1", **fields: Any) -> str:
    return json.dumps(["chatllm", "v2", ["chat"], tenant, "model", "", fields])


def said(text: str, *before: Any) -> str:
    return dumps([*before, HumanMessage(text)])


def answer(text: str) -> list[Generation]:
    return [Generation(text=text)]


async def found(cache: SemanticCache, prompt: str, llm_string: str) -> str | None:
    generations = await cache.alookup(prompt, llm_string)
    return generations[0].text if generations else None


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def cache(fake: Fake) -> SemanticCache:
    return SemanticCache(SETTINGS, 60, fake)


async def test_a_similar_question_is_answered_and_another_is_not(cache: SemanticCache, fake: Fake) -> None:
    assert await found(cache, said(RHINE), llm()) is None and fake.asked == []  # nothing to compare with
    await cache.aupdate(said(RHINE), llm(), answer("1,233 km"))
    assert await found(cache, said(RHINE_TOO), llm()) == "1,233 km"
    assert await found(cache, said(ELBE), llm()) is None
    assert fake.asked == [RHINE, RHINE_TOO, ELBE]
    await cache.aupdate(said(ELBE), llm(), answer("nobody"))
    assert fake.asked[3:] == []  # embedded when it was sought


@pytest.mark.parametrize(
    ("prompt", "llm_string"),
    [
        (said(RHINE), llm("t2")),
        (said(RHINE), llm(temperature=0.5)),
        (said(RHINE, SystemMessage("Answer in German.")), llm()),
        (said(RHINE, HumanMessage("Hi"), AIMessage("Hello")), llm()),
        (dumps([HumanMessage(RHINE), AIMessage("Well,")]), llm()),
        (dumps([HumanMessage([{"type": "text", "text": RHINE}])]), llm()),
        (dumps([HumanMessage(RHINE, name="ann")]), llm()),
        (said(RHINE + " In 2024"), llm()),
        (said(""), llm()),
    ],
)
async def test_all_but_the_last_text_must_be_equal(cache: SemanticCache, prompt: str, llm_string: str) -> None:
    await cache.aupdate(said(RHINE), llm(), answer("1,233 km"))
    assert await found(cache, prompt, llm_string) is None


async def test_numbers_are_not_similar(cache: SemanticCache) -> None:
    await cache.aupdate(said("Who won in 1998?"), llm(), answer("France"))
    assert await found(cache, said("Who won in 1998, then?"), llm()) == "France"
    assert await found(cache, said("Who won in 2002?"), llm()) is None


async def test_a_completions_prompt_is_compared_as_a_whole(cache: SemanticCache) -> None:
    await cache.aupdate(RHINE, llm(), answer(" It is"))
    assert await found(cache, RHINE_TOO, llm()) == " It is"


async def test_what_has_expired_is_not_found_and_what_is_newer_replaces(fake: Fake) -> None:
    cache = SemanticCache(SETTINGS, 0.05, fake)
    await cache.aupdate(said(RHINE), llm(), answer("old"))
    await cache.aupdate(said(RHINE), llm(), answer("new"))
    assert await found(cache, said(RHINE), llm()) == "new"
    await asyncio.sleep(0.06)
    assert await found(cache, said(RHINE), llm()) is None


async def test_memory_is_bounded(fake: Fake) -> None:
    settings = SemanticSettings(model="m", max_entries=50, max_bytes=1 << 20)
    cache = SemanticCache(settings, 60, fake)
    for tenant in range(20):
        for at in range(60):
            await cache.aupdate(said(f"{chr(65 + at)}{'x' * at}"), llm(f"t{tenant}"), answer("y" * 3_000))
        assert cache.held_bytes <= 1 << 20
    assert await found(cache, said("A"), llm("t19")) is None  # the oldest of its tenant
    await cache.aupdate(said(RHINE), llm(), answer("z" * (1 << 20)))
    assert await found(cache, said(RHINE), llm()) is None
    cache.clear()
    assert cache.held_bytes == 0


def test_the_nearest_of_many_is_found_wherever_it_stands() -> None:
    rows = [unit(*row) for row in np.random.default_rng(0).normal(size=(1_000, 32))]
    vectors, scope = Vectors(32, 700), bytes(32)
    for at, row in enumerate(rows):
        vectors.add(scope, row, answer(str(at)), 60, 10)
    for at in range(0, 1_000, 50):
        nearest = vectors.nearest(scope, rows[at], 0.9)
        assert nearest is None if at < 300 else nearest and nearest[0].text == str(at)
        assert vectors.nearest(bytes(31) + b"x", rows[at], 0.9) is None
    assert vectors.held_bytes == 700 * (10 + 32 * 4 + 64)


def test_settings_without_a_model_or_its_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"cache\.semantic\.model is missing"):
        CacheSettings(langchain=SEMANTIC_CACHE)
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ValueError, match="NOT_SET is not set"):
        loaded(SEMANTIC_CACHE, CacheSettings(semantic=SemanticSettings(model="m", api_key_env="NOT_SET")))


@asynccontextmanager
async def composed(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[tuple[Service, Service]]:
    """A service with the cache, and the one that makes its embeddings, of the words of a text."""
    async with running(ScriptedModel(id="e", kind="scripted", embedding_dimensions=64)) as embeddings:
        monkeypatch.setenv("E_KEY", embeddings.http.headers["authorization"].removeprefix("Bearer "))
        semantic = SemanticSettings(
            model="e", base_url=f"{embeddings.url}/v1", api_key_env="E_KEY", min_similarity=0.999
        )
        settings = CacheSettings(
            langchain=SEMANTIC_CACHE, langchain_timeout_s=10, lookup_timeout_s=2, semantic=semantic
        )
        async with running(ScriptedModel(id="quick", kind="scripted", tokens=8), cache=settings) as service:
            yield service, embeddings


async def test_it_works_over_http_with_a_services_own_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(service: Service, text: str, key: str = "") -> tuple[str, str]:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0}
        response = await service.http.post("/v1/chat/completions", json=body, headers=headers)
        return response.headers["x-cache"], response.headers.get("x-cache-reason", "")

    async with composed(monkeypatch) as (service, _):
        # In the scripted model's embeddings the order of words is nothing.
        words = ("how", "long", "is", "a", "river")
        orders = (" ".join(order) for order in itertools.permutations(words))
        outcomes = [await asked(service, next(orders))]
        async with asyncio.timeout(5):
            while outcomes[-1][0] != "HIT":
                outcomes.append(await asked(service, next(orders)))
                await asyncio.sleep(0.05)
        assert outcomes[0][0] == "MISS" and outcomes[-1][1].startswith("approximate")
        _, other = await service.keys.create("other")
        assert (await asked(service, next(orders), other))[0] == "MISS"


async def test_embeddings_that_cannot_be_had_are_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    async with composed(monkeypatch) as (_, embeddings):
        settings = SemanticSettings(model="e", base_url=f"{embeddings.url}/v1", api_key_env="E_KEY")
        vector = await Embedder(settings)("hello")
        assert len(vector) == 64 and abs(float(np.linalg.norm(vector)) - 1) < 1e-5
        wrong = Embedder(settings.model_copy(update={"model": "nobody"}))
        with pytest.raises(Exception, match="404"):
            await wrong("hello")
    nothing = SemanticSettings(model="e", base_url="http://127.0.0.1:9/v1")
    settings = CacheSettings(langchain=SEMANTIC_CACHE, semantic=nothing, langchain_timeout_s=5)
    async with running(ScriptedModel(id="quick", kind="scripted", tokens=8), cache=settings) as service:
        body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0}
        assert (await service.http.post("/v1/chat/completions", json=body)).status_code == 200
