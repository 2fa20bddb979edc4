"""Made-up embeddings: the same text has the same vector, and texts that share words lie near each other."""

import base64
import hashlib
import math
import struct
from typing import Any

from deployments.errors import BadRequest
from deployments.models.scripted.completion import prompts_of


def embeddings(request: dict[str, Any], model: str, dimensions: int) -> dict[str, Any]:
    """Return OpenAI's answer to an embeddings request, with vectors of length 1."""
    if request.get("dimensions") not in (None, dimensions):
        raise BadRequest(f"The model {model!r} embeds in {dimensions} dimensions only.", "dimensions")
    texts = prompts_of({"prompt": request["input"]})
    tokens = sum(len(text.split()) for text in texts)
    is_packed = request.get("encoding_format") == "base64"
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if is_packed else vector}
            for index, vector in enumerate(_vector(text, dimensions) for text in texts)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def pooled(request: dict[str, Any], model: str, dimensions: int) -> dict[str, Any]:
    """Return vLLM's answer to a pooling request: the same vectors."""
    answer = embeddings(request, model, dimensions)
    data = [{"index": one["index"], "object": "pooling", "data": one["embedding"]} for one in answer["data"]]
    return {**answer, "data": data}


def likeness(one: str, other: str, dimensions: int) -> float:
    """Return the cosine similarity of two texts' vectors."""
    return sum(a * b for a, b in zip(_vector(one, dimensions), _vector(other, dimensions), strict=True))


def _vector(text: str, dimensions: int) -> list[float]:
    whole = [0.0] * dimensions
    for word in text.lower().split() or [""]:
        seed = hashlib.shake_128(word.encode()).digest(dimensions)
        whole = [sum_ + byte - 127.5 for sum_, byte in zip(whole, seed, strict=True)]
    length = math.sqrt(sum(value * value for value in whole))
    return [value / length for value in whole]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
