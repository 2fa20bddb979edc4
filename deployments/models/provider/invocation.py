"""OpenAI's parameters of a chat as LangChain's classes have them.

What a class takes for one request alone is a field of the object, of which each request
gets a copy; the copies share its connections. A parameter that has no field in the
provider's class is refused: a request never gets another answer than it asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_openai.chat_models.base import BaseChatOpenAI

from deployments.config import ProviderModel
from deployments.errors import BadRequest
from deployments.models.provider.conversation import conversation

FIELDS: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "logit_bias": ("logit_bias",),
    "seed": ("seed", "random_seed"),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict"),
    "max_completion_tokens": ("max_tokens", "max_output_tokens", "num_predict"),
    "reasoning_effort": ("reasoning_effort",),
}
"""Each parameter, and the names that classes have for it."""

OPENAI_FIELDS = ("logprobs", "top_logprobs")
"""Fields that other classes may have too, without answering in OpenAI's form."""

SETTLED = frozenset({"messages", "model", "stream", "cache_salt", "tools", "tool_choice", "parallel_tool_calls"})
"""Read elsewhere, or, as the salt of vLLM's prefix cache, of no use to a provider."""

FORMATS: Mapping[str, frozenset[str]] = {
    "json_schema": frozenset({"anthropic", "google_genai", "groq", "mistralai", "ollama"}),
    "json_object": frozenset({"google_genai", "groq", "mistralai", "ollama"}),
}
"""Providers besides OpenAI's kind whose classes take OpenAI's `response_format`, by its type."""

IGNORE_TOOL_CHOICE = frozenset({"ollama"})
ONE_CALL = frozenset({"anthropic", "groq", "mistralai"})
"""Providers besides OpenAI's kind that can be told to call one tool at a time."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a LangChain model: `model.astream(messages, stop=stop, **arguments)`."""

    model: BaseChatModel
    messages: list[BaseMessage]
    openai_messages: Sequence[Mapping[str, Any]]
    """The same messages in OpenAI's form."""
    modalities: Sequence[str]
    stop: list[str] | None
    arguments: dict[str, Any]

    def about(self, messages: Sequence[Mapping[str, Any]]) -> "Invocation":
        """Return the same call with other messages."""
        return replace(self, messages=conversation(messages, self.modalities), openai_messages=messages)


def invocation(model: BaseChatModel, settings: ProviderModel, request: Mapping[str, Any]) -> Invocation:
    """Return the call that answers a request; raises BadRequest, naming the parameter that the provider has not."""
    is_openai = isinstance(model, BaseChatOpenAI)
    openai_messages = request["messages"]
    messages = conversation(openai_messages, settings.input_modalities)
    fields: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    body: dict[str, Any] = {}
    stop: list[str] | None = None
    for name, value in request.items():
        if name in SETTLED or value is None:
            continue
        if name in settings.body_parameters and is_openai:
            body[name] = value
        elif name == "stop":
            stop = [value] if isinstance(value, str) else list(value)
        elif name == "n" and value == 1:
            continue
        elif name == "response_format":
            _set_format(value, model, settings, arguments, body)
        else:
            fields[_field(name, model, settings)] = value
    arguments |= _tools(model, settings, request)
    if body:
        arguments["extra_body"] = {**(getattr(model, "extra_body", None) or {}), **body}
    return Invocation(
        model.model_copy(update=fields), messages, openai_messages, settings.input_modalities, stop, arguments
    )


def _field(name: str, model: BaseChatModel, settings: ProviderModel) -> str:
    names = FIELDS.get(name, ())
    if name in OPENAI_FIELDS and isinstance(model, BaseChatOpenAI):
        names = (name,)
    known = type(model).model_fields
    field = next((one for one in names if one in known), None)
    if field is None:
        raise _unsupported(name, settings)
    return field


def _set_format(
    wanted: Mapping[str, Any],
    model: BaseChatModel,
    settings: ProviderModel,
    arguments: dict[str, Any],
    body: dict[str, Any],
) -> None:
    """Ask for the format where the class takes it: OpenAI's does not stream what it is to parse itself."""
    kind = str(wanted.get("type"))
    if kind == "text":
        return
    is_openai = isinstance(model, BaseChatOpenAI)
    if kind not in FORMATS or not (is_openai or settings.provider in FORMATS[kind]):
        raise _unsupported("response_format", settings)
    if is_openai and not model.use_responses_api:
        body["response_format"] = dict(wanted)
    else:
        arguments["response_format"] = dict(wanted)


def _tools(model: BaseChatModel, settings: ProviderModel, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which the class offers tools; {} where there are none, or none may be called."""
    tools, is_openai = request.get("tools"), isinstance(model, BaseChatOpenAI)
    choice = request.get("tool_choice") or "auto"
    if not tools or (choice == "none" and not is_openai):
        return {}
    options: dict[str, Any] = {}
    if choice != "auto":
        if settings.provider in IGNORE_TOOL_CHOICE:
            raise _unsupported("tool_choice", settings)
        options["tool_choice"] = _choice(choice, tools)
    if request.get("parallel_tool_calls") is False:
        if not is_openai and settings.provider not in ONE_CALL:
            raise _unsupported("parallel_tool_calls", settings)
        options["parallel_tool_calls"] = False
    if not is_openai and any(tool["function"].get("strict") for tool in tools):
        raise _unsupported("tools[].function.strict", settings)
    try:
        bound = model.bind_tools(tools, **options)
    except NotImplementedError:
        raise _unsupported("tools", settings) from None
    except (ValueError, TypeError, KeyError):
        raise BadRequest("The provider cannot take these tools as they are.", "tools") from None
    return dict(cast(Any, bound).kwargs)


def _choice(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str:
    """Return a `tool_choice` as LangChain's classes take it: "none", "any", or the name of a tool."""
    if isinstance(choice, str):
        return "any" if choice == "required" else choice
    name = choice["function"]["name"]
    if name not in [tool["function"]["name"] for tool in tools]:
        raise BadRequest(f"'tool_choice' names {name!r}, which is not among the tools.", "tool_choice")
    return name


def _unsupported(name: str, settings: ProviderModel) -> BadRequest:
    return BadRequest(f"The provider of {settings.id!r} ({settings.provider}) does not support '{name}'.", name)
