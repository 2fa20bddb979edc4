"""What `/v1/models` tells of a model."""

import pytest

from deployments.config import ScriptedModel, VLLMModel
from deployments.models.availability import ModelState
from deployments.models.loading.deploying import Absence
from deployments.models.loading.progress import Loading
from tests.unit.api.conftest import Service, running


async def test_a_model_tells_what_a_message_may_hold() -> None:
    seeing = ScriptedModel(id="seeing", kind="scripted", input_modalities=("text", "image"))
    reading = ScriptedModel(id="reading", kind="scripted")
    async with running(seeing, reading, aliases={"gpt-4o": "seeing"}) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        assert {model["id"]: model["input_modalities"] for model in listed} == {
            "seeing": ["text", "image"],
            "reading": ["text"],
            "gpt-4o": ["text", "image"],
        }
        one = (await service.http.get("/v1/models/gpt-4o")).json()
        assert (one["id"], one["alias_of"], one["input_modalities"]) == ("gpt-4o", "seeing", ["text", "image"])


@pytest.mark.parametrize(
    ("status", "retry_after", "should_retry"),
    [("loading", "2", None), ("failed", None, "false"), ("ready", None, None)],
)
async def test_readiness_says_whether_waiting_helps(
    service: Service, monkeypatch: pytest.MonkeyPatch, status: str, retry_after: str | None, should_retry: str | None
) -> None:
    async def states() -> list[ModelState]:
        return [ModelState("quick", status, 1.0, int(status == "ready"))]

    monkeypatch.setattr(service.models, "states", states)
    answer = await service.http.get("/ready")
    assert answer.status_code == (200 if status == "ready" else 503)
    assert answer.headers.get("retry-after") == retry_after
    assert answer.headers.get("x-should-retry") == should_retry


async def test_a_model_tells_what_it_answers_with_and_how_much_fits() -> None:
    small = ScriptedModel(id="small", kind="scripted", context_tokens=300)
    embedding = ScriptedModel(id="embedding", kind="scripted", embedding_dimensions=8)
    async with running(small, embedding) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        told = {model["id"]: (model["output_modalities"], model["max_model_len"]) for model in listed}
        assert told == {"small": (["text"], 300), "embedding": (["text", "embeddings"], 2048)}


async def test_a_model_tells_whether_it_writes_titles() -> None:
    large = ScriptedModel(id="large", kind="scripted")
    small = ScriptedModel(id="small", kind="scripted", writes_titles=False, adapters=("pirate",))
    async with running(large, small) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        told = {model["id"]: model["writes_titles"] for model in listed}
        assert told == {"large": True, "small": False, "small:pirate": False}


async def test_a_model_tells_who_answers_in_its_place() -> None:
    large = ScriptedModel(id="large", kind="scripted", fallback=("small",))
    small = ScriptedModel(id="small", kind="scripted")
    async with running(large, small) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        assert {model["id"]: model["fallback"] for model in listed} == {"large": ["small"], "small": []}


def test_an_engine_that_pools_makes_embeddings_before_it_has_loaded() -> None:
    assert VLLMModel(id="minilm", engine={"model": "x", "runner": "pooling"}).output_modalities == ("embeddings",)
    assert VLLMModel(id="llama", engine={"model": "x"}).output_modalities == ("text",)


async def test_an_adapter_is_a_model_of_its_own() -> None:
    adapted = ScriptedModel(id="guide", kind="scripted", adapters=("pirate", "poet"))
    async with running(adapted, aliases={"arr": "guide:pirate"}) as service:
        listed = (await service.http.get("/v1/models")).json()["data"]
        assert {model["id"]: (model.get("parent"), model.get("alias_of")) for model in listed} == {
            "guide": (None, None),
            "guide:pirate": ("guide", None),
            "guide:poet": ("guide", None),
            "arr": ("guide", "guide:pirate"),
        }
        one = (await service.http.get("/v1/models/guide:pirate")).json()
        assert (one["id"], one["parent"], one["status"]) == ("guide:pirate", "guide", "ready")
        request = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}
        asked = [("guide", "MISS"), ("guide:pirate", "MISS"), ("arr", "HIT"), ("guide:poet", "MISS"), ("guide", "HIT")]
        for name, told in asked:
            answer = await service.http.post("/v1/chat/completions", json={**request, "model": name})
            model = "guide:pirate" if name == "arr" else name
            assert (answer.json()["model"], answer.headers["x-cache"]) == (model, told)
        await service.usage.drain(1.0)
        used = (await service.http.get("/v1/usage", params={"group_by": "model"})).json()["data"]
        assert {row["model"]: row["requests"] for row in used} == {"guide": 2, "guide:pirate": 2, "guide:poet": 1}
        _, secret = await service.keys.create("admin", {"is_admin": True})
        admin = {"authorization": f"Bearer {secret}"}
        shown = (await service.http.get("/v1/admin/metrics", headers=admin)).json()["models"]
        assert [(one["id"], one["running"], sum(one["total"]["requests"].values())) for one in shown] == [
            ("guide", 0, 2),
            ("guide:pirate", None, 2),
            ("guide:poet", None, 1),
        ]
        ready = (await service.http.get("/ready")).json()["models"]
        assert [model["id"] for model in ready] == ["guide"]


async def test_why_a_model_does_not_load_is_told_to_administrators_alone(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "/models/quick does not exist: correct engine.model."

    async def states() -> list[ModelState]:
        return [ModelState("quick", "failed", 1.0, 0, Absence(has_failed=True, reason=reason))]

    monkeypatch.setattr(service.models, "states", states)
    _, secret = await service.keys.create("admin", {"is_admin": True})
    admin = {"authorization": f"Bearer {secret}"}
    told = {
        who: [
            (await service.http.get("/ready", headers=headers)).json()["models"][0]["reason"],
            (await service.http.get("/v1/models", headers=headers)).json()["data"][0].get("reason", ""),
        ]
        for who, headers in {"admin": admin, "caller": {}}.items()
    }
    assert told == {"admin": [reason, reason], "caller": ["", ""]}
    for headers in ({"authorization": "Bearer sk-wrong"}, {"authorization": ""}):
        assert (await service.http.get("/ready", headers=headers)).json()["models"][0]["reason"] == ""


async def test_how_far_a_model_has_come_is_told_to_everybody(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = Loading("reading_weights", since=1.0, percent=40)

    async def states() -> list[ModelState]:
        return [ModelState("quick", "loading", 1.0, 0, Absence(loading=loading, expected_s=45.0))]

    monkeypatch.setattr(service.models, "states", states)
    shown = (await service.http.get("/ready", headers={"authorization": ""})).json()["models"][0]
    assert (shown["phase"], shown["percent"], shown["expected_s"]) == ("reading_weights", 40, 45.0)
