"""LoRA adapters: models of the API with an identity of their own, and what the engine is told of them."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.config import AdapterLoading, Settings, VLLMModel
from deployments.errors import ModelNotFound
from deployments.models.adapters import adapter_folder, engine_options
from deployments.models.identity import identities, identity
from deployments.models.names import ModelNames


def adapter(where: Path, rank: int = 8, weights: bytes = b"1", **config: Any) -> Path:
    where.mkdir(parents=True)
    (where / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, **config}))
    (where / "adapter_model.safetensors").write_bytes(weights)
    return where


def model(*folders: Path | str, **engine: Any) -> VLLMModel:
    modules = [{"name": f"a{at}", "path": str(folder)} for at, folder in enumerate(folders)]
    return VLLMModel.model_validate({"id": "guide", "engine": {"model": "/nowhere", **engine}, "lora_modules": modules})


def options(*folders: Path, **engine: Any) -> dict[str, Any]:
    return engine_options(model(*folders, **engine), folders)


def test_an_adapter_is_a_name_of_the_api_beside_its_model(tmp_path: Path) -> None:
    settings = Settings(models=(model("x", "y"),), aliases={"pirate": "guide:a1"})
    names = ModelNames.of(settings)
    assert (names.ids, names.adapters) == (("guide",), {"guide:a0": "guide", "guide:a1": "guide"})
    assert [names.resolve(name) for name in ("guide:a0", "pirate", None)] == ["guide:a0", "guide:a1", "guide"]
    with pytest.raises(ModelNotFound, match=r"This server has: guide, guide:a0, guide:a1, pirate\."):
        names.resolve("guide:a2")


@pytest.mark.parametrize(
    "modules",
    [
        [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}],
        [{"name": "a/b", "path": "x"}],
        [{"name": "a:b", "path": "x"}],
        [{"name": "a", "path": ""}],
        [{"name": "a", "path": "x", "weights": "y"}],
    ],
)
def test_names_of_adapters_are_unique_and_plain(modules: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationError):
        VLLMModel.model_validate({"id": "guide", "engine": {"model": "/x"}, "lora_modules": modules})


def test_its_identity_is_its_own_and_covers_its_weights_and_its_model(tmp_path: Path) -> None:
    one, other = adapter(tmp_path / "one"), adapter(tmp_path / "other")
    found = identities([model(one, other)])
    assert len(set(found.values())) == 3
    assert found["guide"] == identity(model()), "what an adapter answers is nothing to its model"
    (one / "adapter_model.safetensors").write_bytes(b"2")
    after = identities([model(one, other)])
    assert (after["guide"], after["guide:a1"]) == (found["guide"], found["guide:a1"])
    assert after["guide:a0"] != found["guide:a0"]
    assert identities([model(one, seed=1)])["guide:a0"] != after["guide:a0"]


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_is_not_there_is_told_before_anything_starts(tmp_path: Path, missing: str) -> None:
    folder = adapter(tmp_path / "one")
    (folder / missing).unlink()
    (folder / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=f"'a0' has no {missing} in .*one: name the folder that peft saved"):
        identities([model(folder)])


def test_a_downloaded_one_is_found_by_its_hugging_face_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    module = model("owner/pirate").lora_modules[0]
    with pytest.raises(ValueError, match="`chatllm models pull`"):
        adapter_folder(module)
    snapshot = adapter(tmp_path / "models--owner--pirate" / "snapshots" / "c0ffee")
    (tmp_path / "models--owner--pirate" / "refs").mkdir()
    (tmp_path / "models--owner--pirate" / "refs" / "main").write_text("c0ffee")
    assert adapter_folder(module) == snapshot


def test_the_engine_gets_room_for_all_of_them(tmp_path: Path) -> None:
    assert options() == {}
    small, large = adapter(tmp_path / "small", 4), adapter(tmp_path / "large", 9, rank_pattern={"q_proj": 20})
    assert options(small) == {"enable_lora": True, "max_loras": 1, "max_cpu_loras": 1, "max_lora_rank": 8}
    assert options(small, large) == {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 2, "max_lora_rank": 32}
    many = [adapter(tmp_path / str(number)) for number in range(12)]
    assert (options(*many)["max_loras"], options(*many)["max_cpu_loras"]) == (8, 12)
    assert options(*many, max_loras=3)["max_loras"] == 3


def test_the_engine_gets_room_for_those_that_are_loaded_later(tmp_path: Path) -> None:
    later = VLLMModel(id="guide", engine={"model": "/x"}, adapter_loading=AdapterLoading(max_adapters=3, max_rank=8))
    told = {"enable_lora": True, "max_loras": 3, "max_cpu_loras": 6, "max_lora_rank": 8}
    assert engine_options(later, []) == told, "room for replaced ones whose requests still run"
    small = adapter(tmp_path / "small", 16)
    assert engine_options(later, [small]) == {**told, "max_loras": 4, "max_cpu_loras": 7, "max_lora_rank": 16}


@pytest.mark.parametrize(
    "config", [{"peft_type": "PROMPT_TUNING"}, {"r": 0}, {"r": 600}, {"r": "x"}, {"rank_pattern": [1]}]
)
def test_what_is_no_lora_adapter_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="does not describe a LoRA adapter of rank 1 to 512"):
        options(adapter(tmp_path / "one", config.pop("r", 8), **config))
