"""Adapters that are loaded while the service runs: who may, how they answer, and what becomes of their answers."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from deployments.config import AdapterLoading, ModelCacheSettings, ScriptedModel
from deployments.lora import registry
from tests.adapters import write_adapter
from tests.unit.api.conftest import Service, running

BASE = Path(__file__).parents[3] / "demo_model" / "weights"
ASK = {"messages": [{"role": "user", "content": "Ahoy!"}], "temperature": 0}


@pytest.fixture(autouse=True)
def soon_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """To load an adapter takes until other replicas of the ingress must have read of it; there are none."""
    monkeypatch.setattr(registry, "POLL_S", 0.05)
    monkeypatch.setattr(registry, "SPREAD_S", 0.05)


@pytest.fixture
async def adaptable(tmp_path: Path) -> AsyncGenerator[Service]:
    """A service with one model into which adapters may be loaded, one of its own, and one without."""
    for seed, name in enumerate(("one", "two")):
        write_adapter(tmp_path / name, BASE, seed=seed)
    loading = AdapterLoading(folders=(str(tmp_path),), max_adapters=2)
    open_one = ScriptedModel(id="guide", kind="scripted", adapters=("poet",), adapter_loading=loading)
    async with running(open_one, ScriptedModel(id="closed", kind="scripted")) as service:
        _, secret = await service.keys.create("boss", {"is_admin": True})
        service.extra["authorization"] = f"Bearer {secret}"
        yield service


async def load(service: Service, source: str, name: str = "pirate", **more: Any) -> tuple[int, Any]:
    body = {"name": name, "source": source, **more}
    answer = await service.http.post("/v1/admin/adapters", json=body, headers=service.extra)
    return answer.status_code, answer.json()


async def ask(service: Service, model: str) -> tuple[int, Any, str]:
    answer = await service.http.post("/v1/chat/completions", json={"model": model, **ASK})
    return answer.status_code, answer.json(), answer.headers.get("x-cache", "")


async def test_it_is_loaded_listed_asked_and_unloaded(adaptable: Service) -> None:
    assert (await ask(adaptable, "guide:pirate"))[0] == 404
    status, loaded = await load(adaptable, "one")
    assert (status, loaded["id"], loaded["rank"]) == (200, "guide:pirate", 8)
    listed = (await adaptable.http.get("/v1/models")).json()["data"]
    (shown,) = [model for model in listed if model["id"] == "guide:pirate"]
    assert (shown["parent"], shown["root"]) == ("guide", "one")
    status, answer, _ = await ask(adaptable, "guide:pirate")
    assert (status, answer["model"]) == (200, "guide:pirate")
    all_of_them = (await adaptable.http.get("/v1/admin/adapters", headers=adaptable.extra)).json()["data"]
    assert [one["id"] for one in all_of_them] == ["guide:pirate"]
    gone = await adaptable.http.delete("/v1/admin/adapters/guide:pirate", headers=adaptable.extra)
    assert gone.json() == {"id": "guide:pirate", "object": "adapter.deleted", "deleted": True}
    status, answer, _ = await ask(adaptable, "guide:pirate")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    again = await adaptable.http.delete("/v1/admin/adapters/guide:pirate", headers=adaptable.extra)
    assert again.status_code == 404


async def test_other_weights_under_the_same_name_find_no_cached_answer(adaptable: Service) -> None:
    await load(adaptable, "one")
    assert [(await ask(adaptable, "guide:pirate"))[2] for _ in range(2)] == ["MISS", "HIT"]
    assert (await load(adaptable, "two"))[0] == 200
    assert (await ask(adaptable, "guide:pirate"))[2] == "MISS"
    await load(adaptable, "one")
    assert (await ask(adaptable, "guide:pirate"))[2] == "HIT", "the same weights are the same model"


async def test_its_answers_are_kept_by_the_settings_of_its_model(tmp_path: Path) -> None:
    write_adapter(tmp_path / "one", BASE)
    small = ModelCacheSettings(max_entry_bytes=1024)
    loading = AdapterLoading(folders=(str(tmp_path),))
    model = ScriptedModel(id="guide", kind="scripted", tokens=300, cache=small, adapter_loading=loading)
    async with running(model) as service:
        _, secret = await service.keys.create("boss", {"is_admin": True})
        service.extra["authorization"] = f"Bearer {secret}"
        await load(service, "one")
        assert [(await ask(service, "guide:pirate"))[2] for _ in range(2)] == ["MISS", "MISS"], "it is too large"


async def test_only_an_administrator_may(adaptable: Service) -> None:
    adaptable.extra.clear()
    assert (await load(adaptable, "one"))[0] == 403
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
        assert (await adaptable.http.post(path, json={"lora_name": "x", "lora_path": "one"})).status_code == 403
    assert (await adaptable.http.delete("/v1/admin/adapters/guide:poet")).status_code == 403


@pytest.mark.parametrize(
    ("source", "more", "status", "said"),
    [
        ("missing", {}, 404, "no adapter 'missing'"),
        ("../one", {}, 404, "no adapter"),
        ("one", {"model": "closed"}, 403, "may be loaded into this model"),
        ("one", {"model": "nobody"}, 404, "does not exist"),
        ("one", {"model": "guide:poet"}, 400, "is an adapter itself"),
        ("one", {"name": "poet"}, 409, "stands in the service file"),
        ("one", {"name": "a:b"}, 400, "name"),
        ("one", {"name": "a@b"}, 400, "name"),
        ("one", {"rank": 8}, 400, "rank"),
        ("", {}, 400, "source"),
    ],
)
async def test_what_cannot_be_loaded_is_refused_with_the_reason(
    adaptable: Service, source: str, more: dict[str, Any], status: int, said: str
) -> None:
    found, answer = await load(adaptable, source, **more)
    assert found == status and said in answer["error"]["message"]
    assert (await adaptable.http.get("/v1/admin/adapters", headers=adaptable.extra)).json()["data"] == []


async def test_there_are_no_more_than_the_service_file_allows(adaptable: Service) -> None:
    assert [(await load(adaptable, "one", name))[0] for name in ("a", "b", "c")] == [200, 200, 409]
    assert (await load(adaptable, "two", "a"))[0] == 200, "one that is replaced takes no further place"


async def test_clients_of_vllm_load_and_unload_by_its_names(adaptable: Service) -> None:
    async def post(path: str, **body: Any) -> tuple[int, str]:
        answer = await adaptable.http.post(f"/v1/{path}_lora_adapter", json=body, headers=adaptable.extra)
        return answer.status_code, answer.text

    loaded = await post("load", lora_name="pirate", lora_path="one")
    assert loaded == (200, "Success: LoRA adapter 'pirate' added successfully.")
    assert (await ask(adaptable, "guide:pirate"))[0] == 200
    assert (await post("load", lora_name="pirate", lora_path="two"))[0] == 400
    assert (await post("load", lora_name="guide:pirate", lora_path="two", load_inplace=True))[0] == 200
    assert (await post("unload", lora_name="guide:pirate"))[0] == 200
    assert (await post("unload", lora_name="pirate"))[0] == 404


async def test_it_is_metered_under_its_own_name(adaptable: Service) -> None:
    await load(adaptable, "one")
    await ask(adaptable, "guide:pirate")
    await adaptable.usage.drain(1)
    rows = (await adaptable.http.get("/v1/usage?group_by=model")).json()["data"]
    assert [row["model"] for row in rows] == ["guide:pirate"]
