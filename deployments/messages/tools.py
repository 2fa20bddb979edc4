"""The tools of a message request as functions, which is what a chat model calls.

Tools that Anthropic defines (web search, code execution, a text editor, …) have no schema
in the request: its own servers run them, or its own models were trained on them. They are
left out where they are only offered, and named to the client.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.errors import BadRequest

DEFINED_BY_ANTHROPIC = re.compile(r"[a-z0-9_]{1,64}_\d{8}|mcp_toolset")
"""The types of these tools: a name and the date of its version."""

NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions that a chat model is told of, and the types of the tools that were left out."""

    functions: tuple[dict[str, Any], ...] = ()
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> "Toolbox":
        """Return the tools of a request; raises BadRequest, naming the field."""
        functions: list[dict[str, Any]] = []
        ignored: dict[str, None] = {}
        for at, tool in enumerate(tools):
            kind = tool.get("type")
            if kind in (None, "custom"):
                functions.append(_function(tool, f"tools[{at}]"))
            elif isinstance(kind, str) and DEFINED_BY_ANTHROPIC.fullmatch(kind):
                ignored[kind] = None
            else:
                raise BadRequest(f"Tools of the type {str(kind)[:64]!r} are not supported.", f"tools[{at}].type")
        return cls(tuple(functions), tuple(ignored))

    def chat_fields(self, choice: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the tools and their choice as fields of a chat completion request; raises BadRequest."""
        wanted = choice or {"type": "auto"}
        if not self.functions:
            if wanted.get("type") in ("any", "tool"):
                left_out = f" but {', '.join(self.ignored)}, which cannot be used here" if self.ignored else ""
                raise BadRequest(f"'tool_choice' asks for a tool, but there is none{left_out}.", "tool_choice")
            return {}
        fields: dict[str, Any] = {"tools": list(self.functions), "tool_choice": self._chosen(wanted)}
        if wanted.get("disable_parallel_tool_use"):
            fields["parallel_tool_calls"] = False
        return fields

    def _chosen(self, choice: Mapping[str, Any]) -> str | dict[str, Any]:
        kind, name = str(choice["type"]), choice.get("name")
        if kind != "tool":
            return "required" if kind == "any" else kind
        if name not in [tool["function"]["name"] for tool in self.functions]:
            raise BadRequest(f"'tool_choice' names {str(name)[:64]!r}, which is not among the tools.", "tool_choice")
        return {"type": "function", "function": {"name": name}}


def _function(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    name, schema, description = tool.get("name"), tool.get("input_schema"), tool.get("description")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequest("A tool needs a 'name' of 1 to 128 letters, digits, '_', '-' or '.'.", f"{where}.name")
    if not isinstance(schema, dict):
        raise BadRequest("A tool needs an 'input_schema', which is a JSON schema.", f"{where}.input_schema")
    if not isinstance(description, str | None):
        raise BadRequest("A description must be a string.", f"{where}.description")
    function: dict[str, Any] = {"name": name, "parameters": schema}
    if description:
        function["description"] = description
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}
