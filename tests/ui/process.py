"""The page as its own process, as a user starts it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ui.stand_in import KEY


@contextmanager
def page_process(api_url: str, folder: Path, **more: str) -> Iterator[str]:
    """Run `python -m ui`; `more` is further environment. Unless that says who is let in, everybody is."""
    port = free_port()
    process = start_page(api_url, folder, port, **more)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start_page(api_url: str, folder: Path, port: int, key: str = KEY, **more: str) -> "subprocess.Popen[bytes]":
    """Start the process, wait until it answers, and leave its end to the caller."""
    (folder / "key").write_text(key)
    environ = os.environ | {
        "CHATLLM_API_URL": api_url,
        "CHATLLM_API_KEY_FILE": str(folder / "key"),
        "CHATLLM_PAGE_PORT": str(port),
        "CHATLLM_STATE": str(folder / "state"),
        "CHATLLM_PAGE_SIGN_IN": "0",
        "NICEGUI_STORAGE_PATH": str(folder / "nicegui"),
        **more,
    }
    environ.pop("PYTEST_CURRENT_TEST", None)
    process = subprocess.Popen([sys.executable, "-m", "ui"], cwd=Path(__file__).parents[2], env=environ)
    _wait_for(f"http://127.0.0.1:{port}", process)
    return process


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                response.read()
            return
        except urllib.error.HTTPError:  # it does not let everybody in
            return
        except urllib.error.URLError:
            time.sleep(0.05)
    pytest.fail("the page does not answer")
