"""The launcher's settings: options before environment, and one sentence for what is wrong."""

from pathlib import Path

import pytest

from deployments.local.settings import LauncherSettings
from deployments.local.state import LauncherError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "PORT", "PAGE_PORT", "DASHBOARD_PORT", "MODEL"):
        monkeypatch.delenv(f"CHATLLM_{name}", raising=False)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_the_documented_ports() -> None:
    assert LauncherSettings.read().listening == {"port": 8000, "dashboard-port": 8265, "page-port": 8080}


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATLLM_PORT", "9000")
    assert LauncherSettings.read().port == 9000
    assert LauncherSettings.read(port=9100).port == 9100


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("CHATLLM_MODEL", "")
    assert LauncherSettings.read().database_url is None
    assert LauncherSettings.read().model == ""


@pytest.mark.parametrize("value", ["eighty", "0", "70000", "-1", "80.5"])
def test_a_wrong_port_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CHATLLM_PAGE_PORT", value)
    with pytest.raises(LauncherError, match=f"CHATLLM_PAGE_PORT={value} is not valid"):
        LauncherSettings.read()


def test_a_wrong_option_names_the_option() -> None:
    with pytest.raises(LauncherError, match="--port=70000 is not valid"):
        LauncherSettings.read(port=70000)


def test_two_parts_on_one_port_are_refused() -> None:
    with pytest.raises(LauncherError, match="a port of its own"):
        LauncherSettings.read(port=8080)
    assert LauncherSettings.read(port=8080, page=False).port == 8080


def test_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db/chat")
    assert "hunter2" not in repr(LauncherSettings.read())


def test_the_state_lies_in_the_repository_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert LauncherSettings.read().state == Path(__file__).parents[3] / ".chatllm"
    monkeypatch.setenv("CHATLLM_STATE", str(tmp_path))
    assert LauncherSettings.read().state == tmp_path
