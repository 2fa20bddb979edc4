"""The memory plan: what models get, what is refused with its figures, and what would fit."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.config import Settings, VLLMModel
from deployments.local.memory.plan import GIB, MIB, Machine, Share, plan
from deployments.local.memory.shares import with_memory
from deployments.local.service_file import ServiceFile
from deployments.local.state import LauncherError
from deployments.models.files.footprint import footprint

DEMO_MODEL = Path(__file__).parents[4] / "demo_model" / "weights"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 8192,
}
KV_PER_TOKEN = 2 * 32 * 8 * 128 * 2
SMALL, LARGE = Machine(8 * GIB, 16 * GIB), Machine(60 * GIB, 64 * GIB)


@pytest.fixture(autouse=True)
def no_models_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def eight_billion(tmp_path: Path) -> str:
    """A folder that looks like a model of eight billion parameters and takes no space."""
    return made(tmp_path / "8b", 8_000_000_000)


def made(folder: Path, parameters: int, dtype: str = "BF16", **config: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    width = {"BF16": 2, "F32": 4, "U8": 1}[dtype]
    header = {"w": {"dtype": dtype, "shape": [parameters], "data_offsets": [0, parameters * width]}}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + parameters * width)
    return str(folder)


def settings(**models: Any) -> Settings:
    entries = [{"id": name, "kind": "vllm", **entry} for name, entry in models.items()]
    return Settings.model_validate({"models": entries})


def engine(model: str, **more: Any) -> dict[str, Any]:
    return {"engine": {"model": model, **more}}


def test_weights_are_counted_in_the_type_that_is_computed_in(tmp_path: Path, eight_billion: str) -> None:
    def weights(**engine: Any) -> int | None:
        return footprint(VLLMModel(id="m", engine=engine)).weights_bytes

    assert weights(model=eight_billion) == 16_000_000_000
    assert weights(model=eight_billion, dtype="float32") == 32_000_000_000
    assert weights(model=made(tmp_path / "wide", 1_000_000, "F32")) == 2_000_000
    assert weights(model=made(tmp_path / "quantized", 1_000_000, "U8")) == 1_000_000
    assert weights(model="Qwen/Qwen3-8B") == 16_400_000_000
    assert weights(model="someone/new") is None
    assert weights(model=str(DEMO_MODEL), dtype="float32") == pytest.approx(16.3e6, rel=0.01)


def test_a_token_s_cache_follows_from_the_config(tmp_path: Path, eight_billion: str) -> None:
    def per_token(model: str, **more: Any) -> int | None:
        return footprint(VLLMModel(id="m", engine={"model": model, **more})).kv_bytes_per_token

    assert per_token(eight_billion) == KV_PER_TOKEN
    assert per_token(eight_billion, kv_cache_dtype="fp8") == KV_PER_TOKEN // 2
    latent = made(tmp_path / "mla", 10, kv_lora_rank=512, qk_rope_head_dim=64)
    assert per_token(latent) == 32 * (512 + 64) * 2
    nested = made(tmp_path / "nested", 10, num_hidden_layers=None, text_config={**CONFIG, "num_hidden_layers": 2})
    assert per_token(nested) == KV_PER_TOKEN // 16
    assert per_token("someone/new") is None


def test_a_model_that_sets_nothing_gets_room_for_some_sequences(eight_billion: str) -> None:
    assert plan(settings(a=engine(eight_billion)), {}, LARGE) == {"a": Share((8 * 4096 + 512) * KV_PER_TOKEN)}


def test_two_models_fit_beside_each_other(eight_billion: str) -> None:
    shares = plan(settings(a=engine(eight_billion), b=engine(eight_billion)), {}, Machine(40 * GIB, 64 * GIB))
    given = [share.kv_cache_bytes or 0 for share in shares.values()]
    weights = 2 * 16_000_000_000
    assert min(given) >= 8192 * KV_PER_TOKEN  # vLLM needs one whole context
    assert sum(given) + weights + int((1.3 + 2 * 1.6) * GIB) <= 40 * GIB + 2 * MIB  # rounded up


def test_two_models_that_are_too_large_together_are_refused_with_the_figures(eight_billion: str) -> None:
    both = settings(a=engine(eight_billion), b=engine(eight_billion, dtype="float32"))
    with pytest.raises(LauncherError) as caught:
        plan(both, {}, Machine(30 * GIB, 64 * GIB))
    assert str(caught.value) == (
        "30.0 GiB of memory are available, this configuration needs about 52.4 GiB (a: weights 14.9, KV cache 1.1; "
        "b: weights 29.8, KV cache 2.1): close other programs, or choose fewer models or dtype bfloat16 or a smaller "
        "max_model_len or a smaller model"
    )


def test_each_replica_counts(eight_billion: str) -> None:
    one = settings(a=engine(eight_billion))
    assert plan(one, {"model-a": 1}, Machine(30 * GIB, 64 * GIB))
    with pytest.raises(LauncherError, match=r"a: 2 replicas, each weights 14\.9, KV cache 1\.1"):
        plan(one, {"model-a": 2}, Machine(30 * GIB, 64 * GIB))


@pytest.mark.parametrize(
    "said",
    [
        {"engine": {"kv_cache_memory_bytes": 2 * GIB}},
        {"engine": {"gpu_memory_utilization": 0.5}},
        {"environment": {"VLLM_CPU_KVCACHE_SPACE": "2"}},
    ],
)
def test_what_the_file_sets_is_left_as_it_is_and_counted(said: dict[str, Any]) -> None:
    entry = {**said, "engine": {"model": str(DEMO_MODEL), **said.get("engine", {})}}
    assert plan(settings(a=entry), {}, Machine(12 * GIB, 16 * GIB)) == {}
    with pytest.raises(LauncherError, match="GiB of memory are available"):
        plan(settings(a=entry), {}, Machine(4 * GIB, 16 * GIB))


def test_what_is_not_known_is_not_refused() -> None:
    shares = plan(settings(a=engine("someone/new"), b=engine("someone/else")), {}, SMALL)
    assert shares == {"a": Share(GIB), "b": Share(GIB)}


def test_with_a_gpu_each_vllm_decides_alone(eight_billion: str) -> None:
    one = settings(a=engine(eight_billion))
    assert plan(one, {}, Machine(60 * GIB, 64 * GIB, (80 * GIB,))) == {}
    two = settings(a=engine(eight_billion), b=engine(eight_billion))
    assert plan(two, {}, Machine(60 * GIB, 64 * GIB, (80 * GIB, 80 * GIB))) == {}


def test_two_models_share_one_gpu(tmp_path: Path, eight_billion: str) -> None:
    small = made(tmp_path / "small", 1_000_000_000)
    shares = plan(settings(a=engine(eight_billion), b=engine(small)), {}, Machine(60 * GIB, 64 * GIB, (80 * GIB,)))
    used = {name: share.gpu_memory_utilization or 0 for name, share in shares.items()}
    assert 0.9 < sum(used.values()) <= 0.92
    assert used["a"] > used["b"]
    assert [share.num_gpus for share in shares.values()] == [0.5, 0.5]
    for name, weights in (("a", 16_000_000_000), ("b", 2_000_000_000)):
        cache = shares[name].kv_cache_bytes or 0
        assert 8192 * KV_PER_TOKEN <= cache <= used[name] * 80 * GIB - weights


def test_three_replicas_on_two_gpus_fit_however_they_are_put(eight_billion: str) -> None:
    shares = plan(settings(a=engine(eight_billion)), {"model-a": 3}, Machine(60 * GIB, 64 * GIB, (80 * GIB,) * 2))
    share = shares["a"]
    assert share.num_gpus == 0.5 and 2 * (share.gpu_memory_utilization or 1) <= 0.92


def test_models_that_are_too_large_for_one_gpu_together_are_refused(eight_billion: str) -> None:
    two = settings(a=engine(eight_billion), b=engine(eight_billion))
    with pytest.raises(
        LauncherError, match=r"2 models share a GPU of 24\.0 GiB, and need about 34\.9 GiB \(a: 17\.5; b"
    ):
        plan(two, {}, Machine(60 * GIB, 64 * GIB, (24 * GIB,)))


def test_a_model_that_is_too_large_for_the_gpu_is_refused(eight_billion: str) -> None:
    with pytest.raises(
        LauncherError, match=r"model a has weights of 14\.9 GiB, and the GPU has 8\.0: choose a quantized"
    ):
        plan(settings(a=engine(eight_billion)), {}, Machine(60 * GIB, 64 * GIB, (8 * GIB,)))
    two = settings(a=engine(eight_billion, tensor_parallel_size=2))
    assert plan(two, {}, Machine(60 * GIB, 64 * GIB, (12 * GIB,) * 2)) == {}


def test_the_plan_stands_in_what_is_deployed_and_not_in_what_was_read(eight_billion: str) -> None:
    models = [{"id": name, "kind": "vllm", "engine": {"model": eight_billion}} for name in ("a", "b")]
    deployments = [
        {"name": "model-a", "ray_actor_options": {"num_gpus": 1}},
        {"name": "model-b", "autoscaling_config": {"min_replicas": 1}, "ray_actor_options": {"num_gpus": 1}},
    ]
    main = {"name": "chatllm", "import_path": "deployments.app:build_app", "args": {}}
    path = {"import_path": "deployments.app:build_model", "route_prefix": None}
    applications = [
        {"name": placed["name"], **path, "args": model, "deployments": [placed]}
        for model, placed in zip(models, deployments, strict=True)
    ]
    document = {"applications": [main, *applications]}
    service = ServiceFile(document, Settings.model_validate({"models": models}))
    planned = with_memory(service, Machine(60 * GIB, 64 * GIB, (80 * GIB,)))
    engines = [model.engine for model in planned.settings.models if isinstance(model, VLLMModel)]
    assert [one["gpu_memory_utilization"] for one in engines] == [0.459, 0.459]
    placed = [application["deployments"][0] for application in planned.document["applications"][1:]]
    assert [one["ray_actor_options"]["num_gpus"] for one in placed] == [0.5] * 2
    assert all(one["kv_cache_memory_bytes"] % MIB == 0 for one in engines)
    assert yaml.safe_load(yaml.safe_dump(planned.document)) == planned.document
    assert "kv_cache_memory_bytes" not in models[0]["engine"]


def test_places_for_adapters_are_counted(tmp_path: Path) -> None:
    """8 places of rank 16 for a model of Llama 3 8B's shape: 0.7 GiB, as vLLM reserves them."""
    shape = {"intermediate_size": 14336, "vocab_size": 128256}
    model = made(tmp_path / "llama", 8_000_000_000, **shape)
    loading = {"adapter_loading": {"folders": [], "max_adapters": 8, "max_rank": 16}}
    places = footprint(VLLMModel.model_validate({"id": "m", "kind": "vllm", **engine(model), **loading})).adapters_bytes
    linear = 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)) + 2 * (4096 + 128256)
    assert places == 8 * 16 * linear * 2 == pytest.approx(0.7 * GIB, rel=0.05)
    assert footprint(VLLMModel.model_validate({"id": "m", "kind": "vllm", **engine(model)})).adapters_bytes == 0
    plan(settings(one=engine(model)), {}, Machine(int(19.5 * GIB), 24 * GIB))
    with pytest.raises(LauncherError, match=r"one: weights 14\.9, places for adapters 0\.7"):
        plan(settings(one={**engine(model), **loading}), {}, Machine(int(19.0 * GIB), 24 * GIB))
