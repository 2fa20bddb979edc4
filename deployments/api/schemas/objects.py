"""What this service's own answers look like; for their description, not for making them."""

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class Health(msgspec.Struct):
    """This replica is alive."""

    status: Literal["ok"]


LoadPhase = Literal["starting", "downloading", "reading_weights", "compiling", "warming_up"]


ModelStatus = Literal["ready", "asleep", "loading", "failed"]


class ModelReadiness(msgspec.Struct):
    """The state of one model; `elapsed_s` is how long it has been in it.

    One that is asleep has no replica because nobody asks for it; a request wakes it. While it loads, `phase` says what
    its replica does, `percent` how much of that is done, `expected_s` how many seconds a start took before, and
    `remaining_s` about how many are left (of one that is asleep: once it is asked); null where that is not known.
    `reason` is why it has not loaded, for an administrator's key alone.
    """

    id: str
    status: ModelStatus
    elapsed_s: float
    replicas: int
    message: str
    reason: str
    phase: LoadPhase | None
    percent: int | None
    expected_s: float | None
    remaining_s: float | None


class Readiness(msgspec.Struct):
    """The state of the default model, where one that is asleep counts as ready, and of each.

    `problems` say what is wrong with the configuration that was deployed last, and stand only for an administrator's
    key: a `user_config` that was refused, a name that stands for no model.
    """

    status: Literal["ready", "loading", "failed"]
    models: list[ModelReadiness]
    problems: list[str] = []


class Model(msgspec.Struct):
    """A model, a LoRA adapter of one (`parent`), or another name for one (`alias_of`).

    `root` is where an adapter that was loaded while the service runs comes from: a folder or a Hugging Face id.
    `input_modalities` are what a message to it may hold, `output_modalities` what it answers with: `text`,
    `embeddings`, `labels`, `scores` or `transcripts`. `max_model_len` is how many tokens a prompt and its answer may
    have together, null until the model has loaded. `writes_titles` says whether its titles of conversations are better
    than the question's first sentence, and `fallback` which models answer in its place where it cannot. `replicas` and
    `running` (requests that its engines hold) stand only where one model was asked for, and `reason`, why it has not
    loaded, only for an administrator's key, with `phase`, `percent`, `expected_s` and `remaining_s` as in `/ready`.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    status: ModelStatus
    input_modalities: list[str]
    output_modalities: list[str]
    max_model_len: int | None
    writes_titles: bool
    fallback: list[str]
    alias_of: str | msgspec.UnsetType = msgspec.UNSET
    parent: str | msgspec.UnsetType = msgspec.UNSET
    root: str | msgspec.UnsetType = msgspec.UNSET
    replicas: int | msgspec.UnsetType = msgspec.UNSET
    running: int | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    phase: LoadPhase | msgspec.UnsetType | None = msgspec.UNSET
    percent: int | msgspec.UnsetType | None = msgspec.UNSET
    expected_s: float | msgspec.UnsetType | None = msgspec.UNSET
    remaining_s: float | msgspec.UnsetType | None = msgspec.UNSET


class Models(msgspec.Struct):
    """The models, the default one first."""

    object: Literal["list"]
    data: list[Model]


class TokenUsage(msgspec.Struct):
    """Tokens of a request and its answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(msgspec.Struct):
    """What the model said. Reasoning models add `reasoning`; `function_call` answers a request with `functions`."""

    role: Literal["assistant"]
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    reasoning: str | None = None


class Choice(msgspec.Struct):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: dict[str, Any] | None = None


class ChatCompletion(msgspec.Struct):
    """A whole answer (OpenAI API reference, "The chat completion object")."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage | None = None


class Delta(msgspec.Struct):
    """A piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None


class ChunkChoice(msgspec.Struct):
    """A piece of one of `n` answers."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: dict[str, Any] | None = None


class ChatCompletionChunk(msgspec.Struct):
    """One event of a streamed answer; the last one before `[DONE]` has the usage, if it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: TokenUsage | None = None


class TextChoice(msgspec.Struct):
    """One of the continuations."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: dict[str, Any] | None = None


class Completion(msgspec.Struct):
    """Continuations, and a piece of them in a stream (OpenAI API reference, "The completion object")."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokenUsage | None = None


class Embedding(msgspec.Struct):
    """One text's vector; as base64 of little-endian 32-bit floats where that was asked for."""

    index: int
    object: Literal["embedding"]
    embedding: list[float] | str


class EmbeddingUsage(msgspec.Struct):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    """The vectors of the texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage


class PooledText(msgspec.Struct):
    """What was pooled of one text: a vector, or one for each token."""

    index: int
    object: Literal["pooling"]
    data: list[float | list[float]] | str


class Pooled(msgspec.Struct):
    """What was pooled of the texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[PooledText]
    usage: EmbeddingUsage


class TextClass(msgspec.Struct):
    """The class of one text, and how likely each is."""

    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class Classes(msgspec.Struct):
    """The classes of the texts, in their order."""

    object: Literal["list"]
    model: str
    data: list[TextClass]
    usage: EmbeddingUsage


class TextScore(msgspec.Struct):
    """How well one pair of texts fits."""

    index: int
    object: Literal["score"]
    score: float


class Scores(msgspec.Struct):
    """The scores of the pairs, in their order."""

    object: Literal["list"]
    model: str
    data: list[TextScore]
    usage: EmbeddingUsage


class RankedDocument(msgspec.Struct):
    """A document's place in the request, its text, and how relevant it is."""

    index: int
    relevance_score: float
    document: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Ranking(msgspec.Struct):
    """The documents, the most relevant one first."""

    model: str
    results: list[RankedDocument]
    usage: EmbeddingUsage


class Tokenized(msgspec.Struct):
    """A text's tokens, and how many the model takes."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(msgspec.Struct):
    """The text of tokens."""

    prompt: str


class Conversation(msgspec.Struct):
    """A conversation without its items; `updated_at` (Unix seconds) is the time of its last item."""

    id: str
    object: Literal["conversation"]
    created_at: int
    updated_at: int
    metadata: dict[str, Any]
    title: str | None


class DeletedConversation(msgspec.Struct):
    """A conversation that is no more."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


class Item(msgspec.Struct):
    """A conversation's item; `parent_id` is the one that it follows."""

    id: str
    type: str
    status: str
    parent_id: str | None
    created_at: int
    role: str | None = None
    content: list[dict[str, Any]] | None = None


class ConversationPage(msgspec.Struct):
    """A page of conversations; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Conversation]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ItemPage(msgspec.Struct):
    """A page of items; `last_id` goes into `after` of the next."""

    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class TranscriptUsage(msgspec.Struct):
    """What a transcription is charged by: the recording's whole seconds; in a stream, tokens."""

    type: Literal["duration", "tokens"]
    seconds: int | msgspec.UnsetType = msgspec.UNSET
    input_tokens: int | msgspec.UnsetType = msgspec.UNSET
    input_token_details: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    output_tokens: int | msgspec.UnsetType = msgspec.UNSET
    total_tokens: int | msgspec.UnsetType = msgspec.UNSET


class TranscriptSegment(msgspec.Struct):
    """A piece of a recording, in seconds from its beginning."""

    id: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    seek: int
    no_speech_prob: float | None = None


class Transcript(msgspec.Struct):
    """The words of a recording; all but `text` and `usage` belong to `verbose_json`."""

    text: str
    usage: TranscriptUsage | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType = msgspec.UNSET
    duration: float | msgspec.UnsetType = msgspec.UNSET
    segments: list[TranscriptSegment] | msgspec.UnsetType = msgspec.UNSET


class TranscriptEvent(msgspec.Struct):
    """A piece of the words (`delta`), or in the end all of them (`text`)."""

    type: Literal["transcript.text.delta", "transcript.text.done"]
    delta: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    usage: TranscriptUsage | msgspec.UnsetType = msgspec.UNSET
