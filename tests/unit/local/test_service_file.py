"""The deployed configuration: what the launcher puts in, and what it says of a wrong file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.config import VLLMModel
from deployments.local import service_file
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError

NO_GPU: list[str] = []


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_file, "gpus", lambda: NO_GPU)


def read(path: Path = service_file.GUIDE, **settings: Any) -> service_file.ServiceFile:
    return service_file.read(LauncherSettings(config=path, **settings))


def deployment(service: service_file.ServiceFile, name: str) -> dict[str, Any]:
    applications = service.document["applications"]
    return next(d for application in applications for d in application.get("deployments", ()) if d["name"] == name)


def written(folder: Path, text: str) -> Path:
    path = folder / "service.yaml"
    path.write_text(text)
    return path


def scripted(**arguments: Any) -> str:
    application = {"import_path": "deployments.app:build_app", "args": arguments}
    return yaml.safe_dump({"applications": [application]})


def test_the_shipped_file_gets_the_port_and_an_absolute_path() -> None:
    service = read(port=8123)
    assert service.document["http_options"] == {"host": "127.0.0.1", "port": 8123}
    assert service.settings.default.id == "guide"
    model = service.settings.default
    assert isinstance(model, VLLMModel)
    assert model.engine["model"] == str(REPOSITORY / "demo_model/weights")


def test_a_hugging_face_id_replaces_the_default_model_and_what_was_chosen_for_it() -> None:
    service = read(model="Qwen/Qwen3-0.6B")
    model = service.settings.default
    assert isinstance(model, VLLMModel)
    assert model.id == "Qwen/Qwen3-0.6B"
    executor = "vllm.v1.executor.uniproc_executor.UniProcExecutor"  # how it runs here, whatever the model
    assert model.engine == {
        "model": "Qwen/Qwen3-0.6B",
        "distributed_executor_backend": executor,
        "max_model_len": -1,
        "override_generation_config": {"temperature": 0.6, "top_p": 0.95, "top_k": 20},
        "reasoning_parser": "qwen3",
    }
    assert model.chat == {"enable_auto_tools": True, "tool_parser": "hermes", "reasoning_parser": "qwen3"}
    assert model.environment == {}  # its memory is planned
    assert deployment(service, "model-Qwen--Qwen3-0.6B")["num_replicas"] == 1
    with pytest.raises(StopIteration):
        deployment(service, "model-guide")


def test_a_folder_replaces_the_default_model_under_its_own_name(tmp_path: Path) -> None:
    weights = tmp_path / "my-model"
    weights.mkdir()
    model = read(model=str(weights)).settings.default
    assert isinstance(model, VLLMModel)
    assert (model.id, model.engine["model"]) == ("my-model", str(weights))


def test_a_name_of_the_catalogue_replaces_the_default_model() -> None:
    model = read(model="smollm3:3b").settings.default
    assert isinstance(model, VLLMModel)
    assert (model.id, model.engine["model"]) == ("smollm3-3b", "HuggingFaceTB/SmolLM3-3B")


def test_a_size_that_the_catalogue_lacks_is_answered_with_those_that_it_has() -> None:
    with pytest.raises(
        LauncherError, match=r"CHATLLM_MODEL=qwen3:99b is not in the catalogue, which has qwen3:0\.6b, "
    ):
        read(model="qwen3:99b")


def test_a_missing_folder_is_said_at_once() -> None:
    with pytest.raises(LauncherError, match=r"CHATLLM_MODEL=\./nowhere: there is no such folder"):
        read(model="./nowhere")


def test_a_name_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(LauncherError, match="CHATLLM_MODEL=what is this cannot be served"):
        read(model="what is this")


def test_a_gpu_is_asked_for_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_file, "gpus", lambda: ["GPU 0: NVIDIA H100"])
    options = deployment(read(), "model-guide")["ray_actor_options"]
    assert options == {"num_cpus": 1, "num_gpus": 1}
    assert read().uses_gpus


def test_without_a_gpu_none_is_asked_for() -> None:
    assert not read().uses_gpus


def test_tensor_parallelism_asks_for_as_many_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(service_file, "gpus", lambda: ["GPU 0", "GPU 1"])
    engine = {"model": "some/model", "tensor_parallel_size": 2}
    path = written(tmp_path, scripted(models=[{"id": "big", "kind": "vllm", "engine": engine}]))
    assert deployment(read(path), "model-big")["ray_actor_options"] == {"num_gpus": 2}


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    service = read()
    service.write(tmp_path / "deployed.yaml")
    assert yaml.safe_load((tmp_path / "deployed.yaml").read_text()) == service.document


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("applications: [", "line 1 is not valid YAML"),
        ("applications:\n\t- name: x\n", "line 2 is not valid YAML"),
        ("", "must hold the settings of Ray Serve"),
        ("- one\n", "must hold the settings of Ray Serve"),
        ("applications: {}\n", "must be a list of exactly one application"),
        ("applications: [{name: x}]\n", r"applications\[0\]\.args is missing"),
        (scripted(), "there is no model: give one an application"),
        (scripted(models=[]), "there is no model: give one an application"),
        (scripted(models=[{"id": "a", "kind": "scripted"}], cash={}), r"args\.cash: Extra inputs are not permitted"),
        (scripted(models=[{"id": "a", "kind": "magic"}]), r"args\.models\.0"),
        (scripted(models=[{"id": "a", "kind": "scripted", "token": 1}]), r"models\.0\.scripted\.token: Extra inputs"),
        (scripted(models=[{"id": "a", "kind": "scripted", "hold_s": float("inf")}]), r"hold_s: .*finite"),
        (
            scripted(models=[{"id": i, "kind": "scripted", "fallback": [o]} for i, o in ("ab", "ba")]),
            "fallback: a -> b -> a is a cycle: take one of them out",
        ),
        (
            scripted(models=[{"id": "a", "kind": "vllm", "engine": {"model": "x", "max_num_seqs": -3}}]),
            r"models\.0\.vllm\.engine: .*max_num_seqs must be at least 1, and is -3",
        ),
        (
            scripted(models=[{"id": "a", "kind": "vllm", "engine": {"model": "x", "gpu_memory_utilization": 1.7}}]),
            "gpu_memory_utilization is a share above 0 and up to 1, and is 1.7",
        ),
        (scripted(models=[{"id": "a", "kind": "scripted"}], default_model="b"), "default_model 'b' is not one of"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_names_the_place(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(LauncherError, match=sentence) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"cannot read the configuration .*nothing\.yaml: No such file"):
        read(tmp_path / "nothing.yaml")


def test_bytes_that_are_no_text_are_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LauncherError, match="not a text file"):
        read(tmp_path / "binary")
