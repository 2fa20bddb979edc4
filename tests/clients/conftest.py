"""Real clients against a service that the launcher started, with a scripted model.

`make test-clients` installs the clients, each kind in an environment of its own (see install.py).
"""

import json
import os
import subprocess
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.install import CLIENTS, NODE_BIN, PYTHON
from tests.launched import Launched, launched, service_file

HERE = Path(__file__).parent
QUICK = {"id": "quick", "kind": "scripted", "tokens": 8, "context_tokens": 200_000}
ALIASES = {"gpt-5.5": "quick", "claude-*": "quick"}
"""A name for which Codex knows what the model can do, and then offers a custom tool; and those of Claude Code."""

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def service() -> Generator[Launched]:
    """The service; its model repeats what it was asked, and calls the tools that are mentioned."""
    with launched(service_file([QUICK], {}, aliases=ALIASES)) as running:
        yield running


@pytest.fixture
def environment(service: Launched, tmp_path: Path) -> dict[str, str]:
    """What a client finds: the service's address and key, a home of its own, and no proxies."""
    kept = {name: os.environ[name] for name in ("LANG", "PATH") if name in os.environ}
    address = {"OPENAI_BASE_URL": f"{service.url}/v1", "OPENAI_API_KEY": service.key}
    return {**kept, **address, "HOME": str(tmp_path), "PATH": f"{NODE_BIN}:{kept.get('PATH', '')}"}


def told(command: list[str], environment: Mapping[str, str], folder: Path | None = None) -> str:
    """Return what a client printed; one that fails fails the test with all that it said."""
    assert CLIENTS.is_dir(), "the clients are not installed: make test-clients"
    result = subprocess.run(
        command, env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def python_client(environment: dict[str, str]) -> Run:
    """Runs a script of this folder in the Python clients' environment and returns its JSON."""
    return lambda script: json.loads(told([str(PYTHON), str(HERE / script)], environment))


@pytest.fixture
def node_client(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a script of this folder beside the Node clients' packages and returns its JSON."""

    def run(script: str) -> Any:
        beside = CLIENTS / "node" / script  # modules are looked for from where a script stands
        beside.write_text((HERE / script).read_text())
        return json.loads(told([str(NODE_BIN / "node"), str(beside)], environment, tmp_path))

    return run
