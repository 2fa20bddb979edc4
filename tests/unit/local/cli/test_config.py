"""`chatllm config`, as its user runs it."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from deployments.local.cli import app
from deployments.local.service_document import ingress_user_config
from deployments.local.state import LauncherError

ROOT = Path(__file__).parents[4]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHATLLM_STATE", str(tmp_path / "state"))
    path = tmp_path / "service.yaml"
    path.write_text((ROOT / "configs/laptop.yaml").read_text())
    return path


def chatllm(config: Path, *words: str) -> Result:
    command, *more = words
    return CliRunner().invoke(app, ["config", command, "--config", str(config), "--", *more])


def chosen(config: Path) -> dict[str, object]:
    return ingress_user_config(yaml.safe_load(config.read_text()))


def test_settings_are_set_shown_and_unset_again(config: Path) -> None:
    before = config.read_text()
    assert "next start (make serve)" in chatllm(config, "set", "timeouts.idle_s", "30").stdout.replace("\n", " ")
    assert chatllm(config, "set", "aliases.gpt-4.1", "scripted").exit_code == 0
    assert chatllm(config, "set", "models.scripted.fallback", "[]").exit_code == 0
    assert chosen(config) == {
        "timeouts": {"idle_s": 30},
        "aliases": {"gpt-4.1": "scripted"},
        "models": {"scripted": {"fallback": []}},
    }
    shown = chatllm(config, "show").stdout.splitlines()
    assert "* timeouts.idle_s = 30.0" in shown and "  timeouts.total_s = 900.0" in shown
    assert '* aliases.gpt-4.1 = "scripted"' in shown and '  log_level = "DEBUG"' in shown
    told = json.loads(CliRunner().invoke(app, ["config", "show", "--json", "--config", str(config)]).stdout)
    assert (told["timeouts"]["idle_s"], told["log_level"]) == (30.0, "DEBUG")
    for name in ("timeouts", "aliases.gpt-4.1", "models"):
        assert chatllm(config, "unset", name).exit_code == 0
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", "timeouts.idle", "3"), "timeouts.idle: Extra inputs are not permitted"),
        (("set", "timeouts.idle_s", "-1"), "timeouts.idle_s"),
        (("set", "timeouts.idle_s", "[1"), "cannot be read as YAML"),
        (("set", "aliases.mine", "nowhere"), "alias 'mine' must be a new name"),
        (("set", "history.flush_s", "3"), "history"),
        (("set", "models.other.hold_s", "3"), "models.other: there is no such model"),
        (("set", "timeouts..idle_s", "3"), "not the name of a setting"),
        (("set", "a = 1\nb", "3"), "not the name of a setting"),
        (("unset", "timeouts.idle_s"), "does not set timeouts.idle_s"),
    ],
)
def test_what_cannot_be_set_changes_nothing(config: Path, words: tuple[str, ...], why: str) -> None:
    before = config.read_text()
    result = chatllm(config, *words)
    assert result.exit_code == 1 and isinstance(result.exception, LauncherError), result.output
    assert why in str(result.exception)
    assert config.read_text() == before
