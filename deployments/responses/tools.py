"""The tools of a response as functions, which is what a chat model calls, and back.

A namespace's tools are functions under longer names; a custom tool is a function with
one string. Built-in tools run on OpenAI's servers, or are of a form that no other model
was trained on: where they are only offered they are left out, and named to the client.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.errors import BadRequest
from deployments.history.tool_items import flat_name

MAX_FUNCTIONS = 1024
MAX_NAMESPACE_WORDS = 300
"""Characters of a namespace's description that each of its functions repeats."""

BUILT_IN = frozenset(
    {
        *("web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"),
        *("file_search", "code_interpreter", "image_generation", "mcp", "tool_search", "programmatic_tool_calling"),
        *("computer", "computer_use", "computer_use_preview", "local_shell", "shell", "apply_patch"),
    }
)

INPUT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The parameters of the function that stands for a custom tool."""


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool that the client runs, as the client calls it."""

    name: str
    namespace: str | None = None
    is_custom: bool = False


@dataclass(frozen=True, slots=True)
class Toolbox:
    """What a response may call: `functions` as a chat model is told, `tools` by the names that it uses.

    `ignored` are the types of the built-in tools that were left out.
    """

    functions: tuple[dict[str, Any], ...] = ()
    tools: tuple[ClientTool, ...] = ()
    ignored: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> "Toolbox":
        """Return the tools of a request; raises BadRequest, naming the field."""
        functions: list[dict[str, Any]] = []
        tools: list[ClientTool] = []
        ignored: dict[str, None] = {}
        given: Sequence[Mapping[str, Any]] = request.get("tools") or ()
        for at, tool in enumerate(given):
            kind = tool.get("type")
            if not isinstance(kind, str):
                raise BadRequest("The 'type' of a tool must be a string, such as 'function'.", f"tools[{at}].type")
            if kind in BUILT_IN:
                ignored[kind] = None
                continue
            for function, own in _expanded(tool, f"tools[{at}]"):
                functions.append(function)
                tools.append(own)
        if len(functions) > MAX_FUNCTIONS:
            raise BadRequest(f"The tools may hold at most {MAX_FUNCTIONS} functions.", "tools")
        return cls(tuple(functions), tuple(tools), tuple(ignored))

    def by_name(self) -> dict[str, ClientTool]:
        """Return the tools by the names that the model uses; the first one of a name is meant."""
        return {flat_name(tool.namespace, tool.name): tool for tool in reversed(self.tools)}

    def chat_fields(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tools and their choice as fields of a chat completion request; raises BadRequest."""
        choice = request.get("tool_choice", "auto")
        functions: Sequence[dict[str, Any]] = self.functions
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            functions, choice = self._allowed(choice)
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": self._chosen(choice)}}
        elif choice not in ("none", "auto", "required"):
            raise BadRequest("'tool_choice' must be 'none', 'auto', 'required' or name a function.", "tool_choice")
        if not functions:
            if choice not in ("none", "auto"):
                left_out = f" but {', '.join(self.ignored)}, which cannot be used here" if self.ignored else ""
                raise BadRequest(f"'tool_choice' asks for a tool, but there is none{left_out}.", "tool_choice")
            return {}
        parallel = {name: request[name] for name in ("parallel_tool_calls",) if name in request}
        return {"tools": list(functions), "tool_choice": choice, **parallel}

    def _chosen(self, choice: Mapping[str, Any]) -> str:
        kind, name = choice.get("type"), choice.get("name")
        if isinstance(kind, str) and kind in BUILT_IN:
            raise BadRequest(f"The tool '{kind}' cannot be used here; functions and custom tools can.", "tool_choice")
        if kind not in ("function", "custom") or not isinstance(name, str):
            raise BadRequest("'tool_choice' must name a function or a custom tool.", "tool_choice")
        wanted = flat_name(choice.get("namespace"), name)
        for tool in self.tools:
            called = flat_name(tool.namespace, tool.name)
            if wanted in (called, tool.name):
                return called
        raise BadRequest(f"'tool_choice' names {name[:64]!r}, which is not among the tools.", "tool_choice")

    def _allowed(self, choice: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
        """Return the functions that a choice allows, and whether one of them must be called."""
        listed = choice.get("tools")
        if not isinstance(listed, list) or choice.get("mode") not in ("auto", "required"):
            raise BadRequest("Allowed tools need a 'mode' (auto, required) and a list of 'tools'.", "tool_choice")
        names = {tool.get("name") for tool in listed if isinstance(tool, dict)}
        pairs = zip(self.functions, self.tools, strict=True)
        allowed = [function for function, tool in pairs if not names.isdisjoint(_names(tool))]
        return allowed, str(choice["mode"])


def _names(tool: ClientTool) -> set[str]:
    return {tool.name, flat_name(tool.namespace, tool.name), tool.namespace or tool.name}


def _expanded(tool: Mapping[str, Any], where: str) -> Iterator[tuple[dict[str, Any], ClientTool]]:
    if tool.get("type") != "namespace":
        yield _function(tool, where, None, "")
        return
    name, inner = _name(tool, where), tool.get("tools")
    if not isinstance(inner, list):
        raise BadRequest("A namespace needs a list of 'tools'.", f"{where}.tools")
    about = str(tool.get("description") or "")[:MAX_NAMESPACE_WORDS].partition("\n")[0]
    for at, one in enumerate(inner):
        if not isinstance(one, Mapping):
            raise BadRequest("A tool must be an object.", f"{where}.tools[{at}]")
        yield _function(one, f"{where}.tools[{at}]", name, about)


def _function(
    tool: Mapping[str, Any], where: str, namespace: str | None, about: str
) -> tuple[dict[str, Any], ClientTool]:
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise BadRequest(f"Tools of the type {str(kind)[:64]!r} are not supported.", f"{where}.type")
    own = ClientTool(_name(tool, where), namespace, kind == "custom")
    description = tool.get("description")
    if not isinstance(description, str | None):
        raise BadRequest("A description must be a string.", f"{where}.description")
    function: dict[str, Any] = {"name": flat_name(namespace, own.name)}
    if words := "\n".join(word for word in (about, description, _form(tool) if own.is_custom else "") if word):
        function["description"] = words
    if own.is_custom:
        function["parameters"] = INPUT
    elif not isinstance(tool.get("parameters") or {}, dict):
        raise BadRequest("The parameters of a function are a JSON schema.", f"{where}.parameters")
    else:
        function |= {name: tool[name] for name in ("parameters", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function}, own


def _name(tool: Mapping[str, Any], where: str) -> str:
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise BadRequest("A tool needs a 'name'.", f"{where}.name")
    return tool["name"]


def _form(tool: Mapping[str, Any]) -> str:
    """Return in words which form a custom tool's input has; no engine here holds a model to it."""
    form = tool.get("format")
    if not isinstance(form, Mapping) or form.get("type") != "grammar":
        return ""
    return f"The input must follow this grammar ({form.get('syntax')}):\n{form.get('definition')}"
