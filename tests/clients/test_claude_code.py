"""Claude Code's command line: it streams Anthropic's messages, with instructions between them and its own tools."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import told
from tests.clients.install import CLIENTS
from tests.launched import Launched

CLAUDE = CLIENTS / "node" / "node_modules" / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
"""So that it speaks to nobody but the service."""


class ClaudeCode:
    """Runs prompts without asking anyone, in a folder of its own."""

    def __init__(self, service: Launched, environment: dict[str, str], folder: Path) -> None:
        self._folder = folder
        address = {"ANTHROPIC_BASE_URL": service.url, "ANTHROPIC_AUTH_TOKEN": service.key}
        kept = {name: value for name, value in environment.items() if not name.startswith("OPENAI_")}
        self._environment = {**kept, **QUIET, **address}

    def print(self, prompt: str, *more: str) -> dict[str, Any]:
        """Return what it says of a turn that has ended."""
        command = [str(CLAUDE), "-p", prompt, "--output-format", "json", *more]
        said = told(command, self._environment, self._folder)
        return json.loads(next(line for line in said.splitlines() if line.startswith("{")))


@pytest.fixture
def claude(service: Launched, environment: dict[str, str], tmp_path: Path) -> ClaudeCode:
    return ClaudeCode(service, environment, tmp_path)


@pytest.mark.parametrize("model", ["quick", "claude-opus-4-8"])
def test_it_answers(claude: ClaudeCode, model: str) -> None:
    turn = claude.print("say hi", "--model", model, "--tools", "")
    assert (turn["is_error"], turn["subtype"], turn["num_turns"]) == (False, "success", 1)
    assert "say hi" in turn["result"], "the scripted model repeats what it was asked"
    assert turn["usage"]["input_tokens"] > 10
    assert turn["usage"]["output_tokens"] >= 8


def test_it_runs_a_tool_and_sends_its_result(claude: ClaudeCode) -> None:
    turn = claude.print("please read 'notes.txt'", "--model", "quick", "--tools", "Read")
    assert (turn["is_error"], turn["num_turns"]) == (False, 2)
    assert "tool_use_error" in turn["result"], "the tool itself has answered, to arguments that make no sense"
