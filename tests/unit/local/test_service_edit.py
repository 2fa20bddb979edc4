"""A model is added to the service file and removed from it; every other line stays as it was."""

import difflib
from pathlib import Path

import pytest
import yaml

from deployments.local.service_edit import replace_file, with_model, without_model
from deployments.local.state import LauncherError

ROOT = Path(__file__).parents[3]
FILES = [
    ROOT / "serve_config.yaml",
    *(ROOT / "configs" / name for name in ("guide.yaml", "laptop.yaml", "one_gpu.yaml")),
]
MODEL = {"id": "new", "kind": "vllm", "engine": {"model": "owner/new", "max_model_len": -1}, "chat": {"x": [1, 2]}}
DEPLOYMENT = {"name": "model-new", "num_replicas": 1}
AWKWARD = """\
# The service.
applications:
- name: chatllm   # of this machine
  args:
    default_model: b
    models:
    # the first
    - id: "a"
      kind: scripted  # programmed

    # - id: commented
    #   kind: out
    -   # the second
      id: b
      kind: scripted
      input_modalities: [text,
        image]  # both

    # about the cache
    cache: {ttl_s: 5}
  deployments:
    - {name: model-a, num_replicas: 1}
    - name: model-b
      user_config: |
        text
"""


def added_and_removed(old: str, new: str) -> tuple[list[str], list[str]]:
    lines = list(difflib.ndiff(old.splitlines(keepends=True), new.splitlines(keepends=True)))
    return [line[2:] for line in lines if line[0] == "+"], [line[2:] for line in lines if line[0] == "-"]


@pytest.mark.parametrize("text", [*(file.read_text() for file in FILES), AWKWARD])
def test_a_model_is_added_and_nothing_else_changes(text: str) -> None:
    new = with_model(text, MODEL, DEPLOYMENT)
    assert added_and_removed(text, new)[1] == []
    application = yaml.safe_load(new)["applications"][-1]
    added = application["args"] if text != AWKWARD else application["args"]["models"][-1]
    assert (added, application["deployments"][-1]) == (MODEL, DEPLOYMENT)


@pytest.mark.parametrize("text", [*(file.read_text() for file in FILES), AWKWARD])
def test_removing_it_restores_the_file_byte_by_byte(text: str) -> None:
    assert without_model(with_model(text, MODEL, DEPLOYMENT), "new", "model-new") == text


def test_a_model_in_the_middle_goes_with_its_deployment_and_the_comments_stay() -> None:
    removed = added_and_removed(AWKWARD, without_model(AWKWARD, "a", "model-a"))[1]
    assert removed == [
        '    - id: "a"\n',
        "      kind: scripted  # programmed\n",
        "    - {name: model-a, num_replicas: 1}\n",
    ]


def test_a_model_with_an_application_of_its_own_goes_with_all_of_its_lines() -> None:
    text = (ROOT / "configs/providers.yaml").read_text()
    added, removed = added_and_removed(text, without_model(text, "claude", "model-claude"))
    assert (added, removed[0]) == ([], "  - name: model-claude\n")
    assert not any("name: model-gpt" in line or "local" in line for line in removed)


def test_the_last_model_goes_with_all_of_its_lines() -> None:
    added, removed = added_and_removed(AWKWARD, without_model(AWKWARD, "b", "model-b"))
    assert (added, len(removed)) == ([], 8)


def test_a_file_without_deployments_or_a_last_line_end_is_changed_too() -> None:
    text = "applications:\n- args:\n    models:\n      - {id: a, kind: scripted}"
    assert with_model(text, MODEL, DEPLOYMENT).startswith(f"{text}\n      - id: new\n")


def test_lists_in_brackets_are_refused() -> None:
    with pytest.raises(LauncherError, match=r"args\.models.*in brackets"):
        with_model("applications:\n- args: {models: [{id: a, kind: scripted}]}\n", MODEL, None)


def test_a_change_that_would_mean_something_else_is_refused() -> None:
    text = "applications:\n- args:\n    models: &all\n    - id: a\n    aliases: *all\n"
    with pytest.raises(LauncherError, match="edit it by hand"):
        with_model(text, MODEL, None)


def test_the_file_is_replaced_whole_and_keeps_its_mode_its_line_ends_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"a: 1\r\n")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, lambda text: text + "b: 2\r\n")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, link.is_symlink()) == (b"a: 1\r\nb: 2\r\n", 0o640, True)
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".yaml"] == []


def test_a_change_that_fails_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 1\n")

    def change(_: str) -> str:
        raise LauncherError("no")

    with pytest.raises(LauncherError, match="no"):
        replace_file(path, change)
    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("a: 1\n", 1)
