"""Clients that check for themselves: each does its quickstart, a stream, a tool loop and a second turn, or fails."""

from pathlib import Path

import pytest

from tests.clients.conftest import HERE, QUICK, told
from tests.clients.install import CLIENTS, NODE_BIN, PYTHON

PYTHON_CLIENTS = ["openai_sdk", "langchain_and_langgraph", "pydantic_ai_agent", "litellm_library", "llm_command"]
NODE_CLIENTS = ["openai_sdk"]


@pytest.fixture
def quick(environment: dict[str, str]) -> dict[str, str]:
    """The clients' environment, with the name of the model."""
    return {**environment, "MODEL": QUICK["id"]}


@pytest.mark.parametrize("name", PYTHON_CLIENTS)
def test_a_python_client(name: str, quick: dict[str, str]) -> None:
    told([str(PYTHON), str(HERE / f"{name}.py")], quick)


@pytest.mark.parametrize("name", NODE_CLIENTS)
def test_a_node_client(name: str, quick: dict[str, str], tmp_path: Path) -> None:
    beside = CLIENTS / "node" / f"{name}.mjs"  # modules are looked for from where a script stands
    beside.write_text((HERE / beside.name).read_text())
    told([str(NODE_BIN / "node"), str(beside)], quick, tmp_path)
