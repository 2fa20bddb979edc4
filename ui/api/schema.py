"""What the service's HTTP API answers with, as far as the page reads it."""

from typing import Literal

from pydantic import BaseModel, Field

from ui.files.images import is_data_url, with_images


class ModelState(BaseModel):
    """One model as `/ready` tells of it."""

    id: str
    status: Literal["ready", "loading", "failed"]
    elapsed_s: float = 0.0
    message: str = ""
    phase: str | None = None
    percent: int | None = None
    expected_s: float | None = None


class Readiness(BaseModel):
    """The answer of `/ready`, whatever its HTTP status."""

    status: str
    models: list[ModelState] = []


class Conversation(BaseModel):
    """A stored conversation; times are unix seconds."""

    id: str
    title: str | None = None
    created_at: float = 0
    updated_at: float = 0
    metadata: dict[str, str] = {}

    @property
    def is_pinned(self) -> bool:
        """Whether it stays on top of the list."""
        return self.metadata.get("pinned") == "true"


class Conversations(BaseModel):
    """A page of the list, the most recently active first."""

    data: list[Conversation]
    has_more: bool = False


class Part(BaseModel):
    """A piece of a message's content."""

    type: str
    text: str = ""
    image_url: str | None = None


class Message(BaseModel):
    """A stored message; `incomplete` ones were cut, stopped or broken off. An item of another kind has no role."""

    id: str
    type: str = "message"
    role: str = ""
    parent_id: str | None = None
    status: str = "completed"
    incomplete_details: dict[str, str] | None = None
    content: list[Part] | None = None
    created_at: float = 0
    reasoning: str = ""
    """What the model thought before it answered: an item of its own, which `tree.folded` puts here."""

    @property
    def is_cut(self) -> bool:
        """Whether it ends at its length limit."""
        return (self.incomplete_details or {}).get("reason") == "max_output_tokens"

    @property
    def text(self) -> str:
        """The text parts, joined, and the images behind them."""
        parts = self.content or []
        images = [part.image_url for part in parts if part.image_url and is_data_url(part.image_url)]
        text = "".join(part.text for part in parts)
        return with_images(text, images) if images else text


class Messages(BaseModel):
    """A page of a conversation's messages, in the order that was asked for."""

    data: list[Message]
    has_more: bool = False


class Piece(BaseModel):
    """A part of the text around a match; `match` tells what was searched for."""

    text: str
    match: bool = False


class Found(BaseModel):
    """A conversation in which something was found."""

    conversation: Conversation
    snippet: list[Piece] = []


class Matches(BaseModel):
    """What a search found, the best match first."""

    data: list[Found]


class Failure(BaseModel):
    """Why a response failed; `reason` is the code that a request would have failed with."""

    code: str = ""
    reason: str = ""
    message: str = ""


class Used(BaseModel):
    """The tokens of a response."""

    input_tokens: int = 0
    output_tokens: int = 0


class Response(BaseModel):
    """One answer as the service tells of it, whoever asked for it; times are unix seconds."""

    id: str
    model: str = ""
    status: str = "in_progress"
    created_at: float = 0
    temperature: float | None = None
    output: list[Message] = []
    usage: Used | None = None
    error: Failure | None = None
    incomplete_details: dict[str, str] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is still being written."""
        return self.status in ("queued", "in_progress")


class Responses(BaseModel):
    """What is being written in a conversation, the newest first."""

    data: list[Response]


class Left(BaseModel):
    """What is left of a limit, and the seconds until all of it is there again."""

    limit: int
    remaining: int
    reset_s: float


class Usage(BaseModel):
    """What a key used; `cached_tokens` count against no limit."""

    requests: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class Me(BaseModel):
    """The key itself, as the service tells of it; a limit that it does not have is None."""

    id: str
    name: str
    last4: str = ""
    admin: bool = False
    expires_at: int | None = None
    limits: dict[str, int | None] = {}
    remaining: dict[str, Left | None] = {}
    usage: Usage = Usage()


class Share(BaseModel):
    """A link to a conversation; the token is known only of one that has just been made. Times are unix seconds."""

    id: str
    created_at: float
    expires_at: float | None = None
    token: str = ""


class Shares(BaseModel):
    """A conversation's links."""

    data: list[Share]


class SharedMessage(BaseModel):
    """What was said in a shared conversation; `left_out` counts what came along and is not shown, such as pictures."""

    role: str
    text: str
    left_out: int = 0


class SharedConversation(BaseModel):
    """What a link shows."""

    title: str | None = None
    created_at: float
    messages: list[SharedMessage]
    is_cut: bool = False


class CompletionMessage(BaseModel):
    """What a model says; `content` is missing where it only thought, or called tools."""

    content: str | None = None


class CompletionChoice(BaseModel):
    """One answer of a completion."""

    message: CompletionMessage
    finish_reason: str | None = None


class Completion(BaseModel):
    """A chat completion."""

    choices: list[CompletionChoice] = Field(min_length=1)


class TokenCount(BaseModel):
    """How many tokens a text has, and how many the model takes."""

    count: int
    max_model_len: int = 0


class Model(BaseModel):
    """A model, or another name for one."""

    id: str
    alias_of: str | None = None
    input_modalities: list[str] = ["text"]
    output_modalities: list[str] = ["text"]
    max_model_len: int | None = None
    writes_titles: bool = True
    fallback: list[str] = []

    @property
    def chats(self) -> bool:
        """Whether it answers messages, and does not only make embeddings."""
        return "text" in self.output_modalities

    @property
    def sees(self) -> bool:
        """Whether a message to it may hold images."""
        return "image" in self.input_modalities


class Models(BaseModel):
    """All models and their other names."""

    data: list[Model]
