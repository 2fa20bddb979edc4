"""Response bodies of the service's HTTP API, as far as the page reads them."""

from typing import Literal

from pydantic import BaseModel, Field

from ui.files.images import is_data_url, with_images


class ModelState(BaseModel):
    """One model in the body of `/ready`."""

    id: str
    status: Literal["ready", "asleep", "loading", "failed"]
    elapsed_s: float = 0.0
    message: str = ""
    phase: str | None = None
    percent: int | None = None
    expected_s: float | None = None
    remaining_s: float | None = None


class Readiness(BaseModel):
    """The body of `/ready`, whatever its HTTP status."""

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
        """Whether it is pinned to the top of the list."""
        return self.metadata.get("pinned") == "true"


class Conversations(BaseModel):
    """A page of the list, the most recently active first."""

    data: list[Conversation]
    has_more: bool = False


class Part(BaseModel):
    """One part of a message's content."""

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
    """The model's reasoning before the answer: a separate item, which `tree.folded` moves here."""

    @property
    def is_cut(self) -> bool:
        """Whether it was cut off by the length limit."""
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
    """Part of the text around a match; `match` marks the match itself."""

    text: str
    match: bool = False


class Found(BaseModel):
    """A conversation that matches a search."""

    conversation: Conversation
    snippet: list[Piece] = []


class Matches(BaseModel):
    """Search results, best match first."""

    data: list[Found]


class Failure(BaseModel):
    """Why a response failed; `reason` is the error code of the API."""

    code: str = ""
    reason: str = ""
    message: str = ""


class Used(BaseModel):
    """Token usage of a response."""

    input_tokens: int = 0
    output_tokens: int = 0


class Response(BaseModel):
    """One response; times are Unix seconds."""

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
        """Whether it is still being generated."""
        return self.status in ("queued", "in_progress")


class Responses(BaseModel):
    """Running responses of a conversation, newest first."""

    data: list[Response]


class Left(BaseModel):
    """What is left of a limit, and the seconds until it is full again."""

    limit: int
    remaining: int
    reset_s: float


class Usage(BaseModel):
    """What a key used; `cached_tokens` count against no limit."""

    requests: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class Me(BaseModel):
    """The API key or user itself; a limit that it does not have is None."""

    id: str
    name: str
    username: str | None = None
    last4: str = ""
    admin: bool = False
    expires_at: int | None = None
    limits: dict[str, int | None] = {}
    remaining: dict[str, Left | None] = {}
    usage: Usage = Usage()


class Signed(BaseModel):
    """A session that has begun: its token, and the id and name of the user or key."""

    token: str
    owner: str
    name: str


class SignedIn(BaseModel):
    """A session, as its user or key sees it; times are Unix seconds."""

    id: str
    device: str = ""
    current: bool = False
    used_at: float = 0


class SignedInAll(BaseModel):
    """All sessions of a user or key."""

    data: list[SignedIn]


class Share(BaseModel):
    """A link to a conversation; only a new link has its token. Times are Unix seconds."""

    id: str
    created_at: float
    expires_at: float | None = None
    token: str = ""


class Shares(BaseModel):
    """A conversation's links."""

    data: list[Share]


class SharedMessage(BaseModel):
    """A message of a shared conversation; `left_out` counts attachments that are not shown, such as images."""

    role: str
    text: str
    left_out: int = 0


class SharedConversation(BaseModel):
    """The conversation behind a link."""

    title: str | None = None
    created_at: float
    messages: list[SharedMessage]
    is_cut: bool = False


class CompletionMessage(BaseModel):
    """A model's message; `content` is missing if it holds only reasoning or tool calls."""

    content: str | None = None


class CompletionChoice(BaseModel):
    """One choice of a completion."""

    message: CompletionMessage
    finish_reason: str | None = None


class Completion(BaseModel):
    """A chat completion."""

    choices: list[CompletionChoice] = Field(min_length=1)


class TokenCount(BaseModel):
    """The number of tokens in a text, and the model's limit."""

    count: int
    max_model_len: int = 0


class Model(BaseModel):
    """A model, or an alias of one."""

    id: str
    alias_of: str | None = None
    input_modalities: list[str] = ["text"]
    output_modalities: list[str] = ["text"]
    max_model_len: int | None = None
    writes_titles: bool = True
    fallback: list[str] = []

    @property
    def chats(self) -> bool:
        """Whether it is a chat model rather than an embedding model."""
        return "text" in self.output_modalities

    @property
    def sees(self) -> bool:
        """Whether it accepts images."""
        return "image" in self.input_modalities


class Models(BaseModel):
    """All models and aliases."""

    data: list[Model]
