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
from loadtests.bare_vllm import EngineOf, NotStarted
from loadtests.llama_shape import write_model
from loadtests.openloop.options import options


def test_every_token_of_the_made_up_model_has_a_text(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
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


def budget(left_s: float) -> one_gpu.Budget:
    return one_gpu.Budget(time.monotonic() + left_s + one_gpu.LEFT_FOR_THE_END_S, one_gpu.GPU)


def test_a_step_without_its_time_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    short = budget(one_gpu.GPU["saturation"].limit_s - 1)
    assert not short.takes("saturation")
    assert short.outcomes == {"saturation": "skipped"} and "saturation: skipped" in capsys.readouterr().out


def test_the_comparison_leaves_the_autoscaling_its_time() -> None:
    limits = {name: step.limit_s for name, step in one_gpu.GPU.items()}
    assert budget(limits["overhead"] + limits["autoscaling"] + 1).takes("overhead")
    assert not budget(limits["overhead"] + limits["autoscaling"] - 1).takes("overhead")
    assert budget(limits["autoscaling"] + 1).takes("autoscaling")


@pytest.mark.parametrize("steps", [one_gpu.GPU, one_gpu.SCRIPTED])
def test_the_load_of_a_step_ends_within_its_time(steps: dict[str, one_gpu.Step]) -> None:
    for name in ("saturation", "autoscaling"):
        load = ["--rates", "1,1"] if name == "autoscaling" else []
        asked = options([*steps[name].load.split(), *load])
        count = len(asked.rates) or asked.most_steps
        assert count * (asked.step_s + asked.drain_s) + 10 <= steps[name].limit_s
    starts_s = 100 if steps is one_gpu.GPU else 60
    most_s = sum(step.limit_s for step in steps.values()) + one_gpu.LEFT_FOR_THE_END_S + starts_s
    assert most_s <= (one_gpu.BUDGET_S if steps is one_gpu.GPU else 340)


async def test_a_step_that_fails_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    async def failing() -> bool:
        raise NotStarted("vLLM ended at its start")

    async def missing_its_goal() -> bool:
        return False

    async def doing() -> bool:
        return True

    run = budget(1000)
    await run.take("overhead", failing)
    await run.take("saturation", missing_its_goal)
    await run.take("autoscaling", doing)
    assert run.outcomes == {"overhead": "failed", "saturation": "failed", "autoscaling": "done"}
    assert "overhead: NotStarted: vLLM ended at its start" in capsys.readouterr().out
