"""Ranking, scores, classes and what is pooled: shapes, bounds, limits, and models that cannot."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from deployments.config import ScriptedModel
from deployments.keys.types import KeyChanges
from tests.unit.api.conftest import Service, running

DOCUMENTS = ["a tree", "the river Rhine", "the moon"]


@pytest.fixture
async def served() -> AsyncGenerator[Service]:
    """A service with a model that makes vectors, and one that only talks."""
    vectors = ScriptedModel(id="vectors", kind="scripted", embedding_dimensions=16)
    async with running(vectors, ScriptedModel(id="talks", kind="scripted")) as service:
        yield service


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_documents_are_put_in_order(served: Service, path: str) -> None:
    body = {"model": "vectors", "query": "the Rhine", "documents": [*DOCUMENTS[:2], {"text": DOCUMENTS[2]}]}
    answer = (await served.http.post(path, json={**body, "top_n": 2})).json()
    assert [result["index"] for result in answer["results"]] == [1, 2]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["results"][0]["document"] == {"text": "the river Rhine"}
    assert answer["usage"]["prompt_tokens"] == 3 * 2 + 7
    bare = (await served.http.post(path, json={**body, "return_documents": False})).json()
    assert [set(result) for result in bare["results"]] == [{"index", "relevance_score"}] * 3


@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
async def test_pairs_are_scored_under_any_of_their_names(served: Service, names: tuple[str, str]) -> None:
    one, other = names
    answer = (await served.http.post("/v1/score", json={"model": "vectors", one: "the moon", other: DOCUMENTS})).json()
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    assert answer["data"][2]["score"] == pytest.approx(1)
    pairs = {"model": "vectors", one: DOCUMENTS, other: DOCUMENTS}
    side_by_side = (await served.http.post("/score", json=pairs)).json()
    assert [item["score"] for item in side_by_side["data"]] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("path", ["/v1/pooling", "/pooling"])
async def test_what_is_pooled_are_the_vectors(served: Service, path: str) -> None:
    pooled = (await served.http.post(path, json={"model": "vectors", "input": DOCUMENTS})).json()
    embedded = (await served.http.post("/v1/embeddings", json={"model": "vectors", "input": DOCUMENTS})).json()
    assert [item["data"] for item in pooled["data"]] == [item["embedding"] for item in embedded["data"]]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, "reranking"),
        ("/v1/score", {"text_1": "a", "text_2": "b"}, "scoring"),
        ("/v1/classify", {"input": "a"}, "classification"),
        ("/v1/pooling", {"input": "a"}, "pooling"),
    ],
)
async def test_a_model_that_cannot_is_named(served: Service, path: str, body: dict[str, Any], words: str) -> None:
    answer = await served.http.post(path, json={"model": "talks", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "model")
    assert error["message"] == f"The model 'talks' does not support {words}."


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", {"query": "", "documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": [{"image": "b"}]}, "documents[0]"),
        ("/v1/rerank", {"query": "a", "documents": ["b"] * 2049}, "documents"),
        ("/v1/rerank", {"query": "a" * 100_000, "documents": ["b"] * 200}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ("/v1/score", {"text_1": "a"}, "text_1"),
        ("/v1/score", {"text_1": "a", "documents": ["b"]}, "text_1"),
        ("/v1/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "text_1"),
        ("/v1/score", {"text_1": "a", "text_2": []}, "text_2"),
        ("/v1/classify", {"input": []}, "input"),
        ("/v1/pooling", {"input": "a", "encoding_format": "bytes"}, "encoding_format"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_what_is_wrong_is_named(served: Service, path: str, body: dict[str, Any], field: str) -> None:
    answer = await served.http.post(path, json={"model": "vectors", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


async def test_a_ranking_counts_and_is_limited_by_what_is_read(served: Service) -> None:
    _, secret = await served.keys.create("limited", KeyChanges(requests_per_minute=5, tokens_per_minute=1000))
    headers = {"authorization": f"Bearer {secret}"}
    body = {"model": "vectors", "query": "the Rhine", "documents": DOCUMENTS}
    answer = await served.http.post("/v1/rerank", json=body, headers=headers)
    assert answer.headers["x-ratelimit-remaining-requests"] == "4"
    assert answer.headers["x-cache"] == "BYPASS"
    await asyncio.sleep(0.2)
    used = (await served.http.get("/v1/usage", headers=headers)).json()["total"]
    assert (used["requests"], used["prompt_tokens"], used["completion_tokens"]) == (1, 13, 0)
    # Of 50 documents each is read with the query, which is longer than all of them.
    large = {**body, "query": "word " * 100, "documents": ["b"] * 50}
    refused = await served.http.post("/v1/rerank", json=large, headers=headers)
    assert refused.status_code == 429 and refused.headers["x-should-retry"] == "false"
