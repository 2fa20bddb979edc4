"""What crosses between a model replica and an ingress replica.

A model replica speaks finished OpenAI frames; nobody downstream parses tokens.
For each `ModelRequest` it yields any number of `Frames` and then exactly one
`Reply` or `Failed`. A generation that is not streamed yields the last alone,
and tells with `Progress` what it has cost so far; a streamed chat tells so once,
before its first frame, how long its prompt is. Frames come with the ids of the
tokens that they say, so that another replica can go on after them (failover.py).
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from deployments.errors import ChatLLMError
from deployments.infra.timing import EngineTimes
from deployments.lora.types import Adapter

Endpoint = Literal[
    "chat",
    "completion",
    "embedding",
    "pooling",
    "classification",
    "rerank",
    "score",
    "tokenize",
    "detokenize",
    "transcription",
    "translation",
]
"""What is asked of a model; of these, `chat`, `completion` and the last two generate and can be streamed."""

SPEECH: frozenset[Endpoint] = frozenset({"transcription", "translation"})
"""What is asked of a model about a recording, which comes as the `file` of its request."""


CAPABILITIES: Mapping[Endpoint, str] = {
    "chat": "chat",
    "completion": "text completions",
    "embedding": "embeddings",
    "pooling": "pooling",
    "classification": "classification",
    "rerank": "reranking",
    "score": "scoring",
    "tokenize": "tokenization",
    "detokenize": "detokenization",
    "transcription": "transcription",
    "translation": "translation of speech",
}
"""What each endpoint needs a model to support."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model takes in a message, what it answers with, and how many tokens fit; None while unknown."""

    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    max_model_len: int | None


@dataclass(slots=True)
class Usage:
    """The tokens that a generation has used so far, as its replica last reported."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request for a model replica.

    `body` is the JSON of a request to the `endpoint`, in OpenAI's shape (where OpenAI has
    no such endpoint: in vLLM's), without this service's own fields; `trim` lets the
    replica drop the oldest messages until the prompt fits the context window (stored
    conversations), otherwise a prompt that is too long is a `ContextTooLong`.
    """

    request_id: str
    body: bytes
    stream: bool
    trim: bool = False
    endpoint: Endpoint = "chat"
    adapter: Adapter | None = None
    """What must answer, where that is an adapter that was loaded while the service runs."""
    identity: str = ""
    """What the cache takes the answer for; a replica of the model as it was before or will be says that it is not."""
    file: bytes = b""
    """The recording that a transcription or translation is about."""
    traceparent: str = ""
    """The trace that it belongs to, if there is one; a replica of the version before may not have been told."""
    head: bytes = b""
    """What the prompts of one conversation have in common, for the router (affinity.py)."""
    wants_tokens: bool = False
    """Whether frames are to come with the ids of their tokens."""
    resumed: bytes = b""
    """The ids of tokens (`packed`) that were generated elsewhere: the answer begins with them, and goes on."""

    @property
    def size_bytes(self) -> int:
        """How much of it there is to be carried."""
        return len(self.body) + len(self.file) + len(self.resumed)

    @property
    def tells_tokens(self) -> bool:
        """Whether it wants tokens; an ingress of the version before does not know them."""
        return getattr(self, "wants_tokens", False)

    @property
    def resumed_tokens(self) -> list[int]:
        """The ids of the tokens after which the answer is to go on."""
        return unpacked(getattr(self, "resumed", b""))


@dataclass(frozen=True, slots=True)
class Frames:
    """One or more complete server-sent events, to be relayed as they are, without the closing `[DONE]`."""

    data: bytes
    tokens: bytes | None = None
    """The ids (`packed`) of the tokens that were generated since the last frames; None: it cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The successful end: the whole answer as the JSON of a non-streamed request, and its key figures."""

    body: bytes
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    times: EngineTimes | None = None
    """Where the engine's time went, if it reported that."""
    may_be_kept: bool = True
    """Whether it is of the identity that was asked for: while a model's replicas are replaced, others answer too."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The end in failure; after the first frame the ingress turns it into an error event."""

    error: ChatLLMError


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The replica stops: another one is to go on. An ingress of the version before takes the connection for lost."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The replica was lost: another one begins the same answer again, from its first frame on."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a generation has used so far, so that one which is aborted has its price."""

    prompt_tokens: int
    completion_tokens: int

    def note_in(self, usage: Usage) -> None:
        """Raise `usage` to this; of several sequences, those that have ended are no longer reported."""
        usage.prompt_tokens = max(usage.prompt_tokens, self.prompt_tokens)
        usage.completion_tokens = max(usage.completion_tokens, self.completion_tokens)


Message = Frames | Reply | Failed

Put = Callable[[Message | Progress | Restarted], None]
"""Takes the messages of one answer, in their order, as they arrive; it never raises and never waits."""


TOKEN_BYTES = 4
CANNOT_CONTINUE = "The model's replica was lost, and this answer cannot be continued; please try again."


def packed(tokens: Iterable[int]) -> bytes:
    """Return ids of tokens as they cross: four bytes each, in the order of the machines."""
    return array("I", tokens).tobytes()


def unpacked(tokens: bytes) -> list[int]:
    """Return the ids of tokens that crossed."""
    return array("I", tokens).tolist()
