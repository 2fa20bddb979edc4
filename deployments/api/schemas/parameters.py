"""What becomes of each parameter of OpenAI's chat completions: honored, dropped as a hint, or refused.

The honored ones are the fields of `ChatRequest`, the hints stand in `deployments/chat/parameters.py`.
None is ignored in silence where it would change the answer: a test walks the parameters of
OpenAI's own client, so that a new one fails until it stands in one of the three.
"""

from collections.abc import Mapping
from typing import Any

from deployments.api.routes.functions import with_tools
from deployments.api.schemas.chat_parts import with_chat_parts
from deployments.chat.parameters import without_hints
from deployments.errors import BadRequest

ONLY: Mapping[str, tuple[Any, ...]] = {
    "modalities": (["text"],),
}
"""Accepted where the value asks for what is done anyway."""

REFUSED: Mapping[str, str] = {
    "audio": "This server answers with text only.",
    "moderation": "This server moderates nothing.",
    "web_search_options": "This server does not search the web.",
}


def settled(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a well-formed request as the model is to see it; raises BadRequest for what cannot be honored."""
    check_stream_options(request)
    kept = with_tools(without_hints(request))
    for name, reason in REFUSED.items():
        if name in kept:
            raise BadRequest(f"'{name}' is not supported. {reason}", name)
    for name, allowed in ONLY.items():
        if name in kept and kept[name] not in allowed:
            raise BadRequest(f"'{name}' can only be {' or '.join(map(repr, allowed))} here.", name)
    if kept.get("top_logprobs") and not kept.get("logprobs"):
        raise BadRequest("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    if kept.get("tool_choice") not in (None, "none") and not kept.get("tools"):
        raise BadRequest("'tool_choice' is only allowed together with 'tools'.", "tool_choice")
    kept["messages"] = with_chat_parts(kept["messages"])
    return _with_allowed_tools({name: kept[name] for name in kept if name not in ONLY})


def check_stream_options(request: Mapping[str, Any]) -> None:
    """Raise BadRequest for options of a stream where nothing is streamed."""
    if request.get("stream_options") and not request.get("stream"):
        raise BadRequest("'stream_options' needs 'stream' to be true.", "stream_options")


def _with_allowed_tools(request: dict[str, Any]) -> dict[str, Any]:
    """Write a `tool_choice` of type allowed_tools, which vLLM does not know, as fewer tools."""
    choice = request.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return request
    subset = choice["allowed_tools"]
    wanted = {tool["function"]["name"] for tool in subset["tools"]}
    tools = [tool for tool in request["tools"] if tool["function"]["name"] in wanted]
    missing = sorted(wanted - {tool["function"]["name"] for tool in tools})
    if missing:
        raise BadRequest(f"'tool_choice' allows {missing[0]!r}, which is not among the tools.", "tool_choice")
    return request | {"tools": tools, "tool_choice": subset["mode"]}
