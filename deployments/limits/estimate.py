"""What a request may cost in tokens, before anyone has counted."""

from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 4


def prompt_tokens(body_bytes: int) -> int:
    """Return what a body of that size is estimated at. Nobody tokenizes on the way to the model."""
    return -(-body_bytes // BYTES_PER_TOKEN)


def answer_tokens(request: Mapping[str, Any]) -> int:
    """Return how many tokens a well-formed request allows its answers, 0 if it names no bound."""
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        bound = request.get(name)
        if isinstance(bound, int):
            answers = request.get("n")
            return bound * (answers if isinstance(answers, int) else 1)
    return 0
