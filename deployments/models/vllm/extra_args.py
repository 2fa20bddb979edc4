"""What this service tells vLLM's engine beside a request's own parameters."""

from collections.abc import Sequence
from typing import Any

RESUMED = "chatllm_resumed"
"""Holds the ids of the tokens with which an answer begins (resuming.py)."""
FIELD = "vllm_xargs"
"""vLLM's field for what its extensions read."""


def set_resumed(body: dict[str, Any], tokens: Sequence[int]) -> None:
    """Let the answer to a request begin with these tokens, and with none that its client names."""
    given = body.get(FIELD)
    own: dict[str, Any] = given if isinstance(given, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    if tokens:
        body[FIELD] = {**own, RESUMED: list(tokens)}
    elif RESUMED in own:
        body[FIELD] = {name: value for name, value in own.items() if name != RESUMED}
