"""What is computed of texts: vectors, classes, scores and tokens; for its description, not for making it."""

from typing import Any, Literal

import msgspec


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
    """A text's tokens, and how many the model accepts."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Detokenized(msgspec.Struct):
    """The text of tokens."""

    prompt: str
