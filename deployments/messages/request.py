"""What a client asks of `POST /v1/messages`, and the chat completion request that it comes to.

Every parameter of Anthropic's is honored, dropped as a hint, named to the client as left
out, or refused by name. vLLM's own sampling parameters are taken besides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from deployments.chat.parameters import SAMPLING, Sampling
from deployments.errors import BadRequest
from deployments.messages.content import chat_messages, system_message
from deployments.messages.tools import Toolbox
from deployments.models.bounds import check_grammars

Count = Annotated[int, msgspec.Meta(ge=1)]
Blocks = list[dict[str, Any]]

HINTS: Mapping[str, str] = {
    "betas": "features are on, or they are refused by name",
    "billing_policy": "nothing is billed here",
    "cache_control": "vLLM caches every prefix of a prompt by itself",
    "diagnostics": "it explains misses of Anthropic's prompt cache",
    "fallback_credit_token": "nothing is billed here",
    "inference_geo": "the service runs in one place",
    "metadata": "a label for the caller's own records",
    "service_tier": "all requests are served alike; keys have limits instead",
    "speed": "all requests are served as fast as they can be",
    "user_profile_id": "a label for the caller's own records",
    "workspace_id": "a label for the caller's own records",
    "thinking.budget_tokens": "the model decides how long it thinks, within `max_tokens`",
    "thinking.display": "thinking is returned in full",
}
"""Accepted and dropped, each with the reason why the answer is right without it."""

LEFT_OUT = frozenset({"compaction", "context_management", "fallbacks"})
"""What Anthropic's servers do to a prompt that is too long, or to a request that fails: left out, and named."""

REFUSED: Mapping[str, str] = {
    "container": "this service runs no containers",
    "mcp_servers": "this service connects to no MCP servers",
    "stop": "it is called 'stop_sequences'",
    "thread": "this service keeps no threads; see /v1/conversations",
}
"""Parameters that cannot be honored here, each with the reason."""


class RequestMessage(msgspec.Struct):
    """One of the `messages`."""

    role: Literal["user", "assistant", "system"]
    content: str | Blocks


class ToolChoice(msgspec.Struct):
    """The `tool_choice` field; `name` is that of the tool, where the type is `tool`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """The `thinking` field; the budget is a hint."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class OutputFormat(msgspec.Struct):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    """The `output_config` field."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class TokenCountRequest(Sampling, kw_only=True):
    """What a model would read: a message request without its `max_tokens`."""

    messages: Annotated[list[RequestMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    system: str | Blocks | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=4)] | None = None
    tools: Annotated[Blocks, msgspec.Meta(max_length=1024)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None


class MessageRequest(TokenCountRequest, kw_only=True):
    """A message request (Anthropic API reference, "Create a Message")."""

    max_tokens: Count
    stream: bool | None = None


FIELDS = frozenset(MessageRequest.__struct_fields__)


@dataclass(frozen=True, slots=True)
class MessagesCall:
    """A well-formed request: the chat completion request that it comes to, and what of it was left out."""

    chat: dict[str, Any]
    ignored: tuple[str, ...]
    max_tokens: int
    streams: bool

    def within(self, window: int | None) -> dict[str, Any]:
        """Return the chat request, its answer no longer than a window of that many tokens, where that is known.

        Anthropic's clients ask for as many tokens as their own models can write. An engine ends an answer where
        its window does, but refuses to be asked for more than that.
        """
        if not self.max_tokens:
            return self.chat
        return {**self.chat, "max_completion_tokens": min(self.max_tokens, window or self.max_tokens)}


def read_call(body: Mapping[str, Any]) -> MessagesCall:
    """Return the request of a body whose types are those of `MessageRequest`; raises BadRequest, naming the field."""
    request = {name: value for name, value in body.items() if value is not None and name not in HINTS}
    left_out = [name for name in sorted(LEFT_OUT) if request.pop(name, None)]
    _refuse(request)
    toolbox = Toolbox.of(request.get("tools") or ())
    chat: dict[str, Any] = {name: value for name, value in request.items() if name in SAMPLING}
    chat |= toolbox.chat_fields(request.get("tool_choice")) | _thinking(request, chat) | _output(request)
    check_grammars(chat, "output_config.format.schema", "tools[{}].input_schema")
    if stop := [text for text in request.get("stop_sequences") or () if text]:
        chat["stop"] = stop
    if "model" in request:
        chat["model"] = request["model"]
    messages = chat_messages(request["messages"])
    chat["messages"] = [*system_message(request.get("system") or ""), *messages]
    if _is_prefilled(messages):
        chat |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return MessagesCall(chat, (*toolbox.ignored, *left_out), request.get("max_tokens", 0), bool(request.get("stream")))


def _refuse(request: Mapping[str, Any]) -> None:
    for name, value in request.items():
        if name in REFUSED and value:
            raise BadRequest(f"'{name}' is not supported: {REFUSED[name]}.", name)
        if name not in FIELDS and name not in REFUSED:
            raise BadRequest(f"{name[:64]}: Extra inputs are not permitted.", name)


def _is_prefilled(messages: list[dict[str, Any]]) -> bool:
    """Tell whether the answer goes on with what the last message says already."""
    last = messages[-1]
    return last["role"] == "assistant" and bool(last["content"]) and "tool_calls" not in last


def _thinking(request: Mapping[str, Any], chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether to think, in the words of the chat templates that can be told."""
    match (request.get("thinking") or {}).get("type"):
        case "enabled":
            thinks = True
        case "disabled":
            thinks = False
        case _:
            return {}
    own: Mapping[str, Any] = chat.get("chat_template_kwargs") or {}
    return {"chat_template_kwargs": {"enable_thinking": thinks, "thinking": thinks, **own}}


def _output(request: Mapping[str, Any]) -> dict[str, Any]:
    config: Mapping[str, Any] = request.get("output_config") or {}
    fields: dict[str, Any] = {}
    if effort := config.get("effort"):
        fields["reasoning_effort"] = effort
    if wanted := config.get("format") or request.get("output_format"):
        schema = {"name": "output", "schema": wanted["schema"], "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    return fields
