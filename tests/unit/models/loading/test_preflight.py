"""What is known to fail is said before vLLM is imported, within a second; what is not certain is left to vLLM."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from deployments.config import VLLMModel
from deployments.models.loading import preflight
from deployments.models.loading.preflight import architectures_known, check, engine_arguments

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="needs vLLM")
DEMO_MODEL = Path(__file__).parents[4] / "demo_model" / "weights"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_MODEL, tmp_path / "model"))


def model(engine_model: object, **engine: Any) -> VLLMModel:
    return VLLMModel(id="m", engine={"model": str(engine_model), **engine})


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def name_shards(folder: Path) -> None:
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "gone": (shutil.rmtree, "not_found", "does not exist: correct engine.model"),
    "no config": (lambda at: (at / "config.json").unlink(), "no_config", "holds no config.json"),
    "config is not JSON": (lambda at: (at / "config.json").write_text("{"), "no_config", "no valid JSON object"),
    "architecture": (
        lambda at: rewrite(at / "config.json", architectures=["WonderForCausalLM"]),
        "unknown_architecture",
        "does not know the architecture WonderForCausalLM",
    ),
    "no tokenizer": (lambda at: (at / "tokenizer.json").unlink(), "no_tokenizer", "holds no tokenizer"),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), "no_weights", "holds no weights"),
    "missing shards": (name_shards, "no_weights", "model-00001-of-00002.safetensors and 1 more is missing"),
    "half of the weights": (lambda at: cut(at / "model.safetensors"), "corrupt_weights", "it has 4,067,564 bytes, and"),
    "no header": (
        lambda at: (at / "model.safetensors").write_bytes(b"\xff" * 4096),
        "corrupt_weights",
        "its header is not one of safetensors",
    ),
    "an empty file": (lambda at: (at / "model.safetensors").write_bytes(b""), "corrupt_weights", "is damaged"),
}


@needs_vllm
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_told_from_its_files(folder: Path, name: str) -> None:
    damage, code, part = DAMAGES[name]
    damage(folder)
    began = time.monotonic()
    failure = check(model(folder))
    assert time.monotonic() - began < 1
    assert failure is not None and failure.code == code
    assert part in failure.sentence


@needs_vllm
@pytest.mark.parametrize(
    ("engine", "code", "sentence"),
    [
        ({"dtype": "int4"}, "wrong_dtype", "dtype is 'int4', and vLLM computes in auto, bfloat16, half or float32."),
        (
            {"max_model_length": 5},
            "bad_argument",
            "vLLM has no engine argument max_model_length; did you mean max_model_len?",
        ),
    ],
)
def test_a_wrong_argument_is_named(folder: Path, engine: dict[str, Any], code: str, sentence: str) -> None:
    failure = check(model(folder, **engine))
    assert failure is not None and (failure.code, failure.sentence) == (code, sentence)


def test_the_demo_model_is_fine_and_so_is_what_vllm_may_know_better(folder: Path, tmp_path: Path) -> None:
    assert check(model(DEMO_MODEL)) is None
    (folder / "model.safetensors").unlink()
    assert check(model(folder, load_format="dummy")) is None
    rewrite(folder / "config.json", architectures=["WonderForCausalLM"], auto_map={"AutoModelForCausalLM": "x.y"})
    (folder / "model.bin").write_bytes(b"x")
    assert check(model(folder)) is None
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"GGUF")
    assert check(model(folder)) is None


def test_a_model_that_is_not_here_is_left_to_the_hub_unless_that_is_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert check(model("someone/model")) is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    failure = check(model("someone/model"))
    assert failure is not None and failure.code == "offline"
    (tmp_path / "hub" / "models--someone--model" / "snapshots" / "abc").mkdir(parents=True)
    assert check(model("someone/model")) is None


def test_a_download_that_does_not_fit_the_disk_is_refused_with_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(preflight, "_free_bytes", lambda _path: 2_000_000_000)
    failure = check(model("Qwen/Qwen3-8B"))
    assert failure is not None and failure.code == "no_space"
    assert "takes 16.4 GB on disk, and 2.0 GB are free" in failure.sentence
    assert check(model("Qwen/Qwen3-0.6B")) is None


@needs_vllm
def test_what_vllm_knows_is_read_without_importing_it() -> None:
    assert {"LlamaForCausalLM", "Qwen3ForCausalLM"} <= architectures_known()
    assert {"model", "dtype", "max_model_len", "enable_log_requests"} <= engine_arguments()
    program = (
        "import sys; from deployments.config import VLLMModel; from deployments.models.loading.preflight import check; "
        f"check(VLLMModel(id='m', engine={{'model': {str(DEMO_MODEL)!r}}})); "
        "print(sorted({'vllm', 'torch', 'transformers'} & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=DEMO_MODEL.parents[1]
    )
    assert found.stdout.strip() == "[]"
