"""A service whose models are all on this disk does not ask the hub."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.local.hub.offline import offline_environment


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    snapshot = cache / "models--owner--model" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    (cache / "models--owner--model" / "refs").mkdir()
    (cache / "models--owner--model" / "refs" / "main").write_text("c0ffee")
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return cache


def environment(tmp_path: Path, *engines: dict[str, Any], **more: Any) -> dict[str, str]:
    models = [{"id": f"m{at}", "engine": engine, **more} for at, engine in enumerate(engines)]
    models = [{"kind": "vllm", **model} for model in models] + [{"id": "s", "kind": "scripted"}]
    path = tmp_path / "deployed.yaml"
    path.write_text(yaml.safe_dump({"applications": [{"name": "chatllm", "args": {"models": models}}]}))
    return offline_environment(path)


HERE, FOLDER = {"model": "owner/model"}, {"model": "/somewhere/model"}


def test_what_is_here_is_served_without_asking(tmp_path: Path) -> None:
    assert environment(tmp_path, HERE, FOLDER, {**HERE, "revision": "c0ffee"}) == {"HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize(
    "engine",
    [{"model": "owner/other"}, {**HERE, "revision": "v2"}, {**FOLDER, "tokenizer": "owner/tokenizer"}],
)
def test_what_is_not_here_may_be_downloaded(tmp_path: Path, engine: dict[str, Any]) -> None:
    assert environment(tmp_path, HERE, engine) == {}


def test_where_adapters_may_come_from_the_hub_it_can_be_asked(tmp_path: Path) -> None:
    assert environment(tmp_path, HERE, adapter_loading={"folders": ["/srv"]}) == {"HF_HUB_OFFLINE": "1"}
    assert environment(tmp_path, HERE, adapter_loading={"hub": True}) == {}


def test_half_a_model_is_not_here(tmp_path: Path, cache: Path) -> None:
    snapshot = cache / "models--owner--model" / "snapshots" / "c0ffee"
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert environment(tmp_path, HERE) == {}
    (snapshot / "model-1.safetensors").write_text("")
    assert environment(tmp_path, HERE) == {"HF_HUB_OFFLINE": "1"}


def test_what_the_user_says_about_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert environment(tmp_path, HERE) == {}
