"""Opening the page in the user's browser, which a link must reach without being seen by other accounts."""

import os
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from deployments.local.instance import Instance
from deployments.local.page import link as page_link
from ui.auth.links import Links

PAGE = "http://127.0.0.1:8080"
INSTANCE = Instance(
    pid=1,
    started_ticks=1,
    host="127.0.0.1",
    port=8000,
    page_port=8080,
    dashboard_port=8265,
    model="guide",
    page_takes_links=True,
)


@pytest.fixture
def terminal() -> Iterator[TextIO]:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        yield terminal
    os.close(ours)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the user's browser, a real program, was given as arguments."""
    program = tmp_path / "browser"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments.new; mv {tmp_path}/arguments.new {tmp_path}/arguments'
    )
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # it reads BROWSER once
    for name in page_link.DISPLAYS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "arguments"


def test_the_browser_gets_a_file_that_leads_to_the_link(
    tmp_path: Path, terminal: TextIO, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert page_link.open_browser(INSTANCE, tmp_path, terminal)
    deadline = time.monotonic() + 10
    while not opened.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    file = tmp_path / "page/open.html"
    assert opened.read_text().strip() == file.as_uri(), "arguments can be read by every account"
    assert file.stat().st_mode & 0o777 == 0o600
    link = file.read_text().rpartition("link=")[2].partition('"')[0]
    assert Links(tmp_path / "page").follow(link)


def test_nothing_is_opened_without_a_display_or_a_person(
    tmp_path: Path, terminal: TextIO, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not page_link.open_browser(INSTANCE, tmp_path, terminal)
    monkeypatch.setenv("DISPLAY", ":0")
    with (tmp_path / "log").open("w") as file:
        assert not page_link.open_browser(INSTANCE, tmp_path, file)
    assert not (tmp_path / "page").exists() and not opened.exists()


def test_where_visitors_sign_in_the_address_has_no_link(tmp_path: Path) -> None:
    signing_in = Instance(1, 1, "127.0.0.1", 8000, 8080, 8265, "guide")
    assert page_link.opening_address(signing_in, tmp_path) == PAGE
    assert page_link.opening_address(INSTANCE, tmp_path).startswith(f"{PAGE}/open?link=")


def test_the_launcher_does_not_import_the_page() -> None:
    """What makes links stays light."""
    code = "import deployments.local.page.link, sys; assert not {'nicegui', 'fastapi'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
