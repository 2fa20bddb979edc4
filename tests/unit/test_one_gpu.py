"""The prepared run on a GPU, as far as it can be tested without one."""

import json
import time
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from deployments.config import VLLMModel
from deployments.local.ray.serve_schema import require_room, validated
from deployments.local.service_document import settings_of
from loadtests import one_gpu
from loadtests.bare_vllm import EngineOf


def test_every_token_of_the_made_up_model_has_a_text(tmp_path: Path) -> None:
    one_gpu.write_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    size = json.loads((tmp_path / "model/config.json").read_text())["vocab_size"]
    assert len(tokenizer) == size
    assert tokenizer.decode([5000, 128_255]) == " w5000 w128255"
    assert len(tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)) > 5


@pytest.mark.parametrize("is_scripted", [False, True])
@pytest.mark.parametrize("most", [1, 2])
def test_its_service_files_are_valid_and_fit_on_one_card(tmp_path: Path, is_scripted: bool, most: int) -> None:
    document = one_gpu.service_file(tmp_path, is_scripted, most)
    (model,) = settings_of(document).models
    require_room(validated(document), cpus=2, gpus=1)
    assert model.id == one_gpu.MODEL
    if isinstance(model, VLLMModel):
        deployment = document["applications"][1]["deployments"][0]
        assert deployment["ray_actor_options"]["num_gpus"] * 2 == 1
        assert model.engine["gpu_memory_utilization"] * 2 < 0.9


def test_from_one_replica_to_two_is_a_change_in_place(tmp_path: Path) -> None:
    first, second = (one_gpu.service_file(tmp_path, False, most)["applications"][1] for most in (1, 2))
    assert first["args"] == second["args"]
    assert first["deployments"][0]["autoscaling_config"].keys() == second["deployments"][0]["autoscaling_config"].keys()


def test_bare_vllm_takes_the_same_engine(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(one_gpu.service_file(tmp_path, False, 1)))
    assert EngineOf.read(path).engine["load_format"] == "dummy"


def test_a_step_without_its_time_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    budget = one_gpu.Budget(time.monotonic() + one_gpu.SECONDS["overhead"] + 30)
    assert budget.takes("overhead") and not budget.takes("saturation")
    assert budget.skipped == ["saturation"] and "saturation: skipped" in capsys.readouterr().out
    assert sum(one_gpu.SECONDS.values()) + one_gpu.LEFT_FOR_THE_END_S + 100 <= one_gpu.BUDGET_S <= 720
