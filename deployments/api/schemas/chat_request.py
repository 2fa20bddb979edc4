"""The types of a chat completion request (OpenAI API reference, "Create chat completion").

Here stand the fields that this service itself reads and those of OpenAI whose
ranges are known; `parameters.py` decides on the rest. How tokens are chosen is
`Sampling`, shared with responses; a field that stands nowhere passes to the model,
which knows it or refuses it.
"""

from typing import Annotated, Any, Literal

import msgspec

from deployments.chat.parameters import Sampling

Count = Annotated[int, msgspec.Meta(ge=1)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
FunctionName = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_.-]{1,64}$")]
Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]


class ChatMessage(msgspec.Struct):
    """A message of the `messages` field."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """The `stream_options` field; `continuous_usage_stats` (vLLM's) tells the usage so far in each event."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


class ConversationReference(msgspec.Struct):
    """The `conversation` field where it is an object."""

    id: str


class Function(msgspec.Struct):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """One of the `tools`."""

    type: Literal["function"]
    function: Function


class FunctionReference(msgspec.Struct):
    """A function by its name."""

    name: str


class NamedTool(msgspec.Struct, tag_field="type", tag="function"):
    """A `tool_choice` that demands one function."""

    function: FunctionReference


class ToolReference(msgspec.Struct):
    """One of the tools that are allowed."""

    type: Literal["function"]
    function: FunctionReference


class ToolSubset(msgspec.Struct):
    """Some of the tools, and whether one of them must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolReference], msgspec.Meta(min_length=1)]


class AllowedTools(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """A `tool_choice` that names the tools which may be called."""

    allowed_tools: ToolSubset


class PlainText(msgspec.Struct, tag_field="type", tag="text"):
    """The `response_format` of any text."""


class AnyObject(msgspec.Struct, tag_field="type", tag="json_object"):
    """The `response_format` of any JSON object."""


class NamedSchema(msgspec.Struct):
    """A JSON schema with a name."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] = {}
    description: str | None = None
    strict: bool | None = None


class FittingObject(msgspec.Struct, tag_field="type", tag="json_schema"):
    """The `response_format` of JSON that fits a schema."""

    json_schema: NamedSchema


class StructuralTag(msgspec.Struct, tag_field="type", tag="structural_tag"):
    """The `response_format` of vLLM's own: text with JSON between tags."""


class ChatRequest(Sampling, kw_only=True):
    """A chat completion request.

    `conversation` and `parent` are this service's own: the stored conversation
    that the messages continue, and the item after which they stand (a branch).
    `functions` and `function_call` are the older names of `tools` and `tool_choice`.
    """

    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Choices | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedTools | None = None
    functions: Annotated[list[Function], msgspec.Meta(max_length=128)] | None = None
    function_call: Literal["none", "auto"] | FunctionReference | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainText | AnyObject | FittingObject | StructuralTag | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    conversation: str | ConversationReference | None = None
    parent: str | None = None
