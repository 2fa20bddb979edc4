"""`chatllm monitor` says what is missing before it writes anything."""

from pathlib import Path

import pytest

from deployments.local.cli.monitor import monitor
from deployments.local.state import LauncherError


def test_without_prometheus_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="apt install prometheus"):
        monitor()


def test_without_a_service_it_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prometheus").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHATLLM_STATE", str(tmp_path / "state"))
    with pytest.raises(LauncherError, match="make serve"):
        monitor()
    assert not (tmp_path / "state").exists()
