"""What must hold before a start: what a GPU needs besides itself, and the adapters that are named."""

import resource
import sys
import sysconfig
from pathlib import Path

import pytest

from deployments.config import Settings, VLLMModel
from deployments.local import checks
from deployments.local.cli import doctor
from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError

HEADERS = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"


@pytest.mark.parametrize(
    ("limit", "connections", "is_enough"),
    [(1024, "", False), (8192, "", False), (8300, "", True), (1024, "400", True), (resource.RLIM_INFINITY, "", True)],
)
def test_haproxy_has_files_enough_for_its_connections(
    monkeypatch: pytest.MonkeyPatch, limit: int, connections: str, is_enough: bool
) -> None:
    """HAProxy 2.8 with 4,096 connections ends at its start where it may open fewer than 8,209 files."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, limit))
    monkeypatch.setenv("RAY_SERVE_HAPROXY_MAXCONN", connections)
    if is_enough:
        checks.require_open_files()
        return
    with pytest.raises(LauncherError, match="LimitNOFILE") as raised:
        checks.require_open_files()
    assert str(raised.value).endswith(f"={(limit - 100) // 2}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with a compiler and Python's headers."""
    for name in ("bin/gcc", "include/Python.h"):
        file = tmp_path / name
        file.parent.mkdir()
        file.touch()
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    return tmp_path


def test_a_compiler_and_the_headers_are_enough(machine: Path) -> None:
    checks.require_compiler()


@pytest.mark.parametrize(
    ("lost", "packages"),
    [
        (["bin/gcc"], "gcc"),
        (["include/Python.h"], HEADERS),
        (["bin/gcc", "include/Python.h"], f"gcc {HEADERS}"),
    ],
)
def test_what_is_missing_is_named_with_its_package(machine: Path, lost: list[str], packages: str) -> None:
    for name in lost:
        (machine / name).unlink()
    with pytest.raises(LauncherError, match=f"apt install {packages}$"):
        checks.require_compiler()


def test_a_compiler_that_was_named_counts_alone(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "icx")
    with pytest.raises(LauncherError, match=r"apt install gcc$"):
        checks.require_compiler()
    monkeypatch.setenv("CC", str(machine / "bin/gcc"))
    checks.require_compiler()


def test_a_system_without_libnuma_is_told_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    checks.require_libnuma()

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(LauncherError, match=r"apt install libnuma1$"):
        checks.require_libnuma()
    monkeypatch.setattr(doctor, "gpus", list)
    said = {finding.subject: finding for finding in doctor.examine(LauncherSettings())}["GPU"]
    assert (said.verdict, "libnuma1" in said.text) == ("fail", True)


def test_the_doctor_says_so_too(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gpus", lambda: ["GPU 0: NVIDIA H100"])
    settings = LauncherSettings(state=machine)
    said = {finding.subject: finding for finding in doctor.examine(settings)}["GPU"]
    assert (said.verdict, said.text) == ("ok", "GPU 0: NVIDIA H100")
    (machine / "bin/gcc").unlink()
    said = {finding.subject: finding for finding in doctor.examine(settings)}["GPU"]
    assert said.verdict == "fail" and "apt install gcc" in said.text


def test_an_adapter_that_is_not_there_is_told_before_the_start(tmp_path: Path) -> None:
    modules = [{"name": "pirate", "path": str(tmp_path / "pirate")}]
    model = VLLMModel.model_validate({"id": "guide", "engine": {"model": "/x"}, "lora_modules": modules})
    with pytest.raises(LauncherError, match=r"model 'guide': the adapter 'pirate' has no adapter_config\.json in"):
        checks.require_adapters([model])
    checks.require_adapters([model.model_copy(update={"lora_modules": ()})])


def test_a_model_that_is_known_not_to_load_keeps_everything_from_starting(tmp_path: Path) -> None:
    models = [{"id": "a", "kind": "vllm", "engine": {"model": str(tmp_path / "nowhere")}}]
    settings = Settings.model_validate({"models": models})
    with pytest.raises(LauncherError, match=r"^the model a cannot be loaded: .*/nowhere does not exist: correct"):
        checks.require_loadable(settings)
