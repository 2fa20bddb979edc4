"""What a client asks of `POST /v1/responses`, and the chat completion request that it comes to.

Every parameter of OpenAI's is honored, dropped as a hint (`deployments/chat/parameters.py`), or
refused by name; `REFUSED` and the functions below say which.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from deployments.cache.steering import UNSTEERED, CacheControl, parsed
from deployments.chat.parameters import HINTS, SAMPLING, Sampling
from deployments.errors import BadRequest
from deployments.history.types import NewItem
from deployments.models.bounds import check_grammars
from deployments.responses.input import new_items
from deployments.responses.references import ItemReference
from deployments.responses.tools import Toolbox

Label = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]

REFUSED: Mapping[str, str] = {
    "access_programs": "this service has no access programs",
    "moderation": "this service does not moderate",
    "prompt": "this service keeps no prompt templates",
}
"""OpenAI's parameters that cannot be honored here, each with the reason."""

LEFT_OUT = frozenset({"context_management"})
"""Compaction spares context; without it the model reads all of it, and `truncation` says what happens at the end."""

CACHE_CONTROL = "cache_control"
"""Where the header's directives are kept, beside the parameters; a body that names it is refused."""

ADMISSION = "admission"
"""Where it is kept what a response in the background holds of its key's limits; likewise no parameter."""

INCLUDABLE = frozenset(
    {
        *("message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content"),
        *("code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results"),
        *("web_search_call.action.sources", "web_search_call.results"),
    }
)
"""What can be asked for. Reasoning is returned readable, never encrypted; of built-in tools there are no calls."""


class ConversationReference(msgspec.Struct):
    """The `conversation` field where it is an object."""

    id: str


class TextOptions(msgspec.Struct):
    """The `text` field; `verbosity` is a hint."""

    format: dict[str, Any] | None = None
    verbosity: Label | None = None


class ReasoningOptions(msgspec.Struct):
    """The `reasoning` field; all but `effort` are hints: reasoning is returned in full, not as a summary."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Label | None = None
    generate_summary: Label | None = None
    context: Label | None = None
    mode: Label | None = None


class ResponseStreamOptions(msgspec.Struct):
    """The `stream_options` field; obfuscation is a hint."""

    include_obfuscation: bool | None = None


class ResponseRequest(Sampling, kw_only=True):
    """The types of a request for a response (OpenAI API reference, "Create a model response").

    `parent` is this service's own: the item of the `conversation` that the input follows, "" for none.
    """

    input: str | list[dict[str, Any]] | None = None
    model: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationReference | None = None
    parent: str | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    background: bool | None = None
    store: bool | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, msgspec.Meta(ge=0)] | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: list[str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    context_management: list[dict[str, Any]] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    metadata: Metadata | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None


FIELDS = frozenset(ResponseRequest.__struct_fields__)


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """A well-formed request: `request` is what was asked, without the input; `chat` what a model is asked.

    What was asked of the cache is `cache_control` of the request, so that a replica that takes it over knows it too.
    """

    request: dict[str, Any]
    input: tuple[NewItem | ItemReference, ...]
    chat: dict[str, Any]
    wait_s: float | None = None
    """How long it is to be held at most while its model has no replica; None for as long as the service holds any."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was asked for and is left out: built-in tools, and that a long context be compacted."""
        return (*Toolbox.of(self.request).ignored, *LEFT_OUT.intersection(self.request))

    @property
    def streams(self) -> bool:
        return bool(self.request.get("stream"))

    @property
    def is_stored(self) -> bool:
        return self.request.get("store") is not False

    @property
    def is_background(self) -> bool:
        return bool(self.request.get("background"))

    @property
    def cache_control(self) -> CacheControl:
        """What is asked of the cache, however long ago."""
        return parsed(self.request.get(CACHE_CONTROL, ""))

    @property
    def trims(self) -> bool:
        """Whether the oldest messages may be left out to fit the model's window."""
        return self.request.get("truncation") == "auto"

    @property
    def previous_id(self) -> str | None:
        return self.request.get("previous_response_id")

    @property
    def conversation_id(self) -> str | None:
        named = self.request.get("conversation")
        return str(named["id"]) if isinstance(named, dict) else named

    @property
    def parent(self) -> str | None:
        return self.request.get("parent")


def read_call(
    body: Mapping[str, Any], max_items: int, cache_control: CacheControl = UNSTEERED, may_be_empty: bool = False
) -> ResponseCall:
    """Return the request of a body whose types are those of `ResponseRequest`; raises BadRequest, naming the field.

    `may_be_empty` lets a request that continues nothing come without an input.
    """
    request = {name: value for name, value in body.items() if value is not None and name != "input" and _counts(name)}
    _refuse(request)
    if cache_control.header:
        request[CACHE_CONTROL] = cache_control.header
    chat = chat_fields(request)
    check_grammars(chat, "text.format.schema", "tools[{}].parameters")
    given: str | list[dict[str, Any]] | None = body.get("input")
    if not (given or isinstance(given, str) or may_be_empty or _continues(request)):
        raise BadRequest("'input' is required where no conversation and no response is continued.", "input")
    return ResponseCall(request, tuple(new_items([] if given is None else given, max_items)), chat)


def _continues(request: Mapping[str, Any]) -> bool:
    return bool(request.get("conversation") or request.get("previous_response_id"))


def _counts(name: str) -> bool:
    """Tell what is honored, refused or returned with the response from hints that are only dropped."""
    return name in FIELDS or name not in HINTS


def _refuse(request: Mapping[str, Any]) -> None:
    for name in request:
        if name in REFUSED:
            raise BadRequest(f"'{name}' is not supported: {REFUSED[name]}.", name)
        if name not in FIELDS:
            raise BadRequest(f"Unrecognized request argument: {name}", name)
    if request.get("previous_response_id") and request.get("conversation"):
        raise BadRequest("'conversation' and 'previous_response_id' cannot be used together.", "conversation")
    if "parent" in request and not request.get("conversation"):
        raise BadRequest("'parent' is an item of a 'conversation', which is missing.", "parent")
    if request.get("background") and request.get("store") is False:
        raise BadRequest("A response in the background is stored: 'store' cannot be false.", "store")
    for at, value in enumerate(request.get("include") or ()):
        if value not in INCLUDABLE:
            raise BadRequest(f"'{value[:100]}' cannot be included.", f"include[{at}]")


def chat_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a request a model is asked, as a chat completion request without model and messages."""
    fields = {name: value for name, value in request.items() if name in SAMPLING}
    if "max_output_tokens" in request:
        fields["max_completion_tokens"] = request["max_output_tokens"]
    if "message.output_text.logprobs" in request.get("include", ()) or request.get("top_logprobs"):
        fields |= {"logprobs": True, "top_logprobs": request.get("top_logprobs", 0)}
    if effort := request.get("reasoning", {}).get("effort"):
        fields["reasoning_effort"] = effort
    return fields | _format(request.get("text", {}).get("format")) | Toolbox.of(request).chat_fields(request)


PROMPT_FIELDS = frozenset(
    {
        *("tools", "add_generation_prompt", "add_special_tokens", "continue_final_message"),
        *("chat_template", "chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs"),
    }
)
"""What of a chat completion request shapes the prompt, besides model and messages."""


def prompt_fields(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a chat completion request a tokenizer is told; vLLM hands the effort to the chat template."""
    fields = {name: value for name, value in chat.items() if name in PROMPT_FIELDS}
    if effort := chat.get("reasoning_effort"):
        thinking = {"reasoning_effort": effort, "enable_thinking": effort != "none"}
        fields["chat_template_kwargs"] = thinking | fields.get("chat_template_kwargs", {})
    return fields


def _format(wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    match (wanted or {}).get("type", "text"):
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema" if wanted and isinstance(wanted.get("schema"), dict) and wanted.get("name"):
            named = ("name", "schema", "strict", "description")
            schema = {name: wanted[name] for name in named if wanted.get(name) is not None}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case "json_schema":
            raise BadRequest("A JSON schema needs a 'name' and a 'schema'.", "text.format")
        case other:
            raise BadRequest(f"The format {str(other)[:64]!r} is not supported.", "text.format.type")
