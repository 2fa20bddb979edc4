"""Cutting a long conversation down to the model's context window, in steps.

A window that slides by one message per turn changes the head of the prompt each
time, so that vLLM's prefix cache never hits again. Here the oldest messages go in
blocks: the head then stays the same for many turns.
"""

import math
from collections.abc import Callable
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages, convert_to_openai_messages, trim_messages

TOKENS_PER_MESSAGE = 8
"""What a chat template adds around one message, roughly."""


def text_of(message: BaseMessage) -> str:
    """Return the text of a message, its text parts joined."""
    if isinstance(message.content, str):
        return message.content
    return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in message.content)


def trimmed(
    messages: list[dict[str, Any]], budget_tokens: int, count_tokens: Callable[[str], int]
) -> list[dict[str, Any]]:
    """Return the newest of `messages` (OpenAI's shape) that fit into `budget_tokens`.

    A leading system message stays. The result starts with a user message. If
    nothing older can go, the messages come back as they are and the model says
    that the prompt is too long.
    """
    parsed = convert_to_messages(messages)
    counts = {id(m): count_tokens(text_of(m)) + TOKENS_PER_MESSAGE for m in parsed}
    total = sum(counts.values())
    if total <= budget_tokens:
        return messages
    block = max(1, budget_tokens // 4)
    dropped = math.ceil((total - budget_tokens) / block) * block

    def cost(group: list[BaseMessage]) -> int:
        return sum(counts.get(id(m)) or count_tokens(text_of(m)) + TOKENS_PER_MESSAGE for m in group)

    kept = trim_messages(
        parsed,
        max_tokens=max(total - dropped, budget_tokens - block),
        strategy="last",
        include_system=True,
        start_on="human",
        token_counter=cost,
    )
    if not any(message.type == "human" for message in kept):
        return messages[-1:]
    return list(convert_to_openai_messages(kept))
