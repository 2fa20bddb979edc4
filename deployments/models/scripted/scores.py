"""Made-up scores: texts that share words are alike."""

from typing import Any

from deployments.models.scripted.embedding import likeness


def scored(request: dict[str, Any], model: str, dimensions: int) -> dict[str, Any]:
    """Return vLLM's answer to a score request: the first texts beside the second ones, one first text beside all."""
    first, second = request["data_1"], request["data_2"]
    pairs = list(zip(first * len(second) if len(first) == 1 else first, second, strict=True))
    data = [
        {"index": at, "object": "score", "score": likeness(one, other, dimensions)}
        for at, (one, other) in enumerate(pairs)
    ]
    return {"object": "list", "model": model, "data": data, "usage": _usage(pairs)}


def ranked(request: dict[str, Any], model: str, dimensions: int) -> dict[str, Any]:
    """Return vLLM's answer to a rerank request, the most alike first."""
    query, documents = request["query"], request["documents"]
    likenesses = [likeness(query, text, dimensions) for text in documents]
    ordered = sorted(range(len(documents)), key=lambda at: likenesses[at], reverse=True)
    results = [{"index": at, "document": {"text": documents[at]}, "relevance_score": likenesses[at]} for at in ordered]
    usage = _usage([(query, text) for text in documents])
    return {"model": model, "usage": usage, "results": results[: request.get("top_n") or None]}


def _usage(pairs: list[tuple[str, str]]) -> dict[str, int]:
    tokens = sum(len(text.split()) for pair in pairs for text in pair)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
