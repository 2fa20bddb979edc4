"""What may be loaded as an adapter: from where, how large, of which shape; each refusal with its reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from deployments.config import AdapterLoading, VLLMModel
from deployments.errors import BadRequest, ChatLLMError, Forbidden, NotFound
from deployments.lora.files import checked
from tests.adapters import write_adapter

BASE = Path(__file__).parents[3] / "demo_model" / "weights"


def model(root: Path, **loading: Any) -> VLLMModel:
    settings = AdapterLoading(folders=(str(root),), **loading)
    return VLLMModel(id="guide", engine={"model": str(BASE)}, adapter_loading=settings)


def refusal(of: VLLMModel, source: str) -> tuple[type[ChatLLMError], str]:
    with pytest.raises(ChatLLMError) as caught:
        checked(of, "pirate", source)
    assert 400 <= caught.value.status < 500
    return type(caught.value), caught.value.message


def configured(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_folder_below_an_allowed_one_is_told_by_its_content(tmp_path: Path) -> None:
    write_adapter(tmp_path / "one", BASE)
    found = checked(model(tmp_path), "pirate", "one")
    assert (found.id, found.rank, found.source) == ("guide:pirate", 8, "one")
    assert found == checked(model(tmp_path), "pirate", "one"), "the same files are the same adapter"
    assert checked(model(tmp_path), "pirate", str(tmp_path / "one")).sha256 == found.sha256
    write_adapter(tmp_path / "two", BASE, seed=1)
    other = checked(model(tmp_path), "pirate", "two")
    assert other.sha256 != found.sha256 and other.key != found.key
    configured(tmp_path / "one", lora_alpha=32)
    assert checked(model(tmp_path), "pirate", "one").sha256 != found.sha256, "alpha scales the weights"


@pytest.mark.parametrize(
    "source",
    ["../outside", "one/../../outside", ".", "", "missing", "link", "\0", "one\0", "a" * 5000, "loop", "owner/pirate"],
)
def test_nothing_is_read_outside_the_allowed_folders(tmp_path: Path, source: str) -> None:
    root = tmp_path / "root"
    write_adapter(root / "one", BASE)
    write_adapter(tmp_path / "outside", BASE)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root / "loop")
    assert refusal(model(root), source)[0] is NotFound
    assert refusal(model(root), str(tmp_path / "outside"))[0] is NotFound


def test_a_file_that_is_a_link_to_the_outside_is_not_read(tmp_path: Path) -> None:
    outside = write_adapter(tmp_path / "outside", BASE)
    inside = write_adapter(tmp_path / "root" / "one", BASE)
    (inside / "adapter_config.json").unlink()
    (inside / "adapter_config.json").symlink_to(outside / "adapter_config.json")
    assert refusal(model(tmp_path / "root"), "one")[0] is BadRequest


def test_a_model_without_the_setting_takes_none(tmp_path: Path) -> None:
    write_adapter(tmp_path / "one", BASE)
    closed = VLLMModel(id="guide", engine={"model": str(BASE)})
    assert refusal(closed, "one")[0] is Forbidden
    assert refusal(VLLMModel(**{**closed.model_dump(), "adapter_loading": {}}), "one")[0] is NotFound


def test_a_downloaded_repository_counts_where_the_hub_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--pirate"
    write_adapter(repository / "snapshots" / "c0ffee", BASE)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    assert refusal(model(tmp_path), "owner/pirate")[0] is NotFound
    assert checked(model(tmp_path, hub=True), "pirate", "owner/pirate").rank == 8


def test_what_is_damaged_or_missing_is_said(tmp_path: Path) -> None:
    folder, of = write_adapter(tmp_path / "one", BASE), model(tmp_path)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert refusal(of, "one") == (
        BadRequest,
        f"The adapter's adapter_model.safetensors is damaged: it has {len(whole) - 100:,} bytes, "
        f"and {len(whole):,} by its header.",
    )
    weights.write_bytes(b"PK\3\4 a pickle")
    assert "is damaged" in refusal(of, "one")[1]
    weights.unlink()
    (folder / "adapter_model.bin").write_bytes(b"a pickle")
    assert "has no adapter_model.safetensors" in refusal(of, "one")[1]
    save_file({"model.embed.weight": np.zeros((2, 2), np.float32)}, weights)
    assert "contains no LoRA weights" in refusal(of, "one")[1]
    weights.write_bytes(whole)
    for text in ("[]", "{", '{"peft_type": "LORA"}', "[" * 100_000):
        (folder / "adapter_config.json").write_text(text)
        assert refusal(of, "one")[0] is BadRequest


@pytest.mark.parametrize("change", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}])
def test_what_the_engine_would_leave_out_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    configured(write_adapter(tmp_path / "one", BASE), **change)
    assert "cannot be served" in refusal(model(tmp_path), "one")[1]


def test_too_large_a_rank_or_a_folder_is_refused_whatever_the_configuration_says(tmp_path: Path) -> None:
    write_adapter(tmp_path / "one", BASE, rank=16)
    assert refusal(model(tmp_path, max_rank=8), "one")[1] == "The adapter's rank is 16, and 8 is allowed."
    configured(tmp_path / "one", r=8)
    assert "a higher rank than its adapter_config.json says" in refusal(model(tmp_path, max_rank=8), "one")[1]
    assert "are allowed" in refusal(model(tmp_path, max_bytes=2048), "one")[1]


def test_an_adapter_of_another_base_model_is_refused_by_its_shape(tmp_path: Path) -> None:
    config = json.loads((BASE / "config.json").read_text())
    for name, change in (("wide", {"hidden_size": 576}), ("deep", {"num_hidden_layers": 30})):
        (tmp_path / f"base-{name}").mkdir()
        (tmp_path / f"base-{name}" / "config.json").write_text(json.dumps({**config, **change}))
        write_adapter(tmp_path / name, tmp_path / f"base-{name}")
    assert "a model of width 576, and this one's is 256" in refusal(model(tmp_path), "wide")[1]
    assert "this one has 4 layers" in refusal(model(tmp_path), "deep")[1]
