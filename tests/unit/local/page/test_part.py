"""How the launcher starts the page: on which address, and with which environment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.local.instance import Instance
from deployments.local.page import part
from deployments.local.page.part import PagePart, takes_links
from deployments.local.settings import LauncherSettings
from deployments.local.state import StateFolder

INSTANCE = Instance(
    pid=1, started_ticks=1, host="0.0.0.0", port=8000, page_port=8080, dashboard_port=8265, model="guide"
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHATLLM_PAGE_HOST", "CHATLLM_PAGE_SIGN_IN"):
        monkeypatch.delenv(name, raising=False)


def test_the_page_listens_where_the_environment_or_an_option_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LauncherSettings.read().page_host == "127.0.0.1"
    monkeypatch.setenv("CHATLLM_PAGE_HOST", "0.0.0.0")
    assert LauncherSettings.read().page_host == "0.0.0.0"
    assert LauncherSettings.read(page_host="10.0.0.1").page_host == "10.0.0.1"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("10.0.0.1", "http://10.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
    ],
)
def test_the_page_is_started_and_probed_on_its_address(
    host: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, str]] = []
    probed: list[str] = []

    class Process:
        def poll(self) -> None:
            return None

    def spawn(command: list[str], log: Path, *, cwd: Path, environment: dict[str, str]) -> Any:
        started.append(environment)
        return Process()

    def status_of(address: str) -> int:
        probed.append(address)
        return 303

    monkeypatch.setattr(part, "spawn", spawn)
    monkeypatch.setattr(part, "status_of", status_of)
    state = StateFolder.open(tmp_path)
    PagePart(state, replace(INSTANCE, page_host=host))._launch()
    assert started[0]["CHATLLM_PAGE_HOST"] == host
    assert started[0]["CHATLLM_API_URL"] == "http://127.0.0.1:8000"
    assert probed == [f"{url}/"]


def test_links_are_for_loopback_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert takes_links("127.0.0.1") and not takes_links("0.0.0.0")
    monkeypatch.setenv("CHATLLM_PAGE_SIGN_IN", "0")
    assert not takes_links("127.0.0.1")
