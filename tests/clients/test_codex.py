"""Codex's command line: its tools are functions, a namespace of functions, a custom tool, and built-in ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import told
from tests.clients.install import CLIENTS, NODE_BIN
from tests.launched import Launched

CODEX = CLIENTS / "node" / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
CONFIG = """
model = "{model}"
model_provider = "chatllm"
[model_providers.chatllm]
name = "ChatLLM"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
[features]
plugins = false
"""


class Codex:
    """Runs prompts without asking anyone, in a folder of its own."""

    def __init__(self, service: Launched, environment: dict[str, str], folder: Path) -> None:
        self._url = service.url
        self._folder = folder
        self._environment = {**environment, "CODEX_HOME": str(folder / "home")}

    def exec(self, prompt: str, *more: str, model: str = "quick") -> list[dict[str, Any]]:
        """Return the events of a turn."""
        home, work = self._folder / "home", self._folder / "work"
        home.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        (home / "config.toml").write_text(CONFIG.format(model=model, url=self._url))
        options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        command = [str(NODE_BIN / "node"), str(CODEX), "exec", *more, *options, prompt]
        events = [json.loads(line) for line in told(command, self._environment, work).splitlines() if line[:1] == "{"]
        assert events[-1]["type"] == "turn.completed", events
        return events


@pytest.fixture
def codex(service: Launched, environment: dict[str, str], tmp_path: Path) -> Codex:
    return Codex(service, environment, tmp_path)


def said(events: list[dict[str, Any]]) -> str:
    """What the model said last; it repeats the last message, which is what a tool returned."""
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"][-1]


def test_it_answers_and_goes_on(codex: Codex) -> None:
    assert said(codex.exec("hello there")) == "hello there " * 4
    assert said(codex.exec("and again", "resume", "--last")) == "and again " * 4


def test_it_runs_a_command(codex: Codex) -> None:
    events = codex.exec("please use exec_command 'echo hi'")
    runs = [event["item"] for event in events if event.get("item", {}).get("type") == "command_execution"]
    assert (runs[-1]["exit_code"], runs[-1]["aggregated_output"].strip()) == (0, "hi")


def test_it_calls_a_function_of_a_namespace(codex: Codex) -> None:
    answer = said(codex.exec("please use multi_agent_v1__close_agent for 'nobody'"))
    assert answer.startswith("invalid agent id nobody"), "the function itself has answered"


def test_it_calls_a_custom_tool(codex: Codex) -> None:
    answer = said(codex.exec("please use apply_patch with 'nothing'", model="gpt-5.5"))
    assert "patch" in answer and not answer.startswith("please use"), "the tool itself has answered"
