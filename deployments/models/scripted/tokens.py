"""The tokenizer of the scripted model: a token is a byte, so that every text comes back as it was.

Usage counts words instead: these tokens are for the endpoints that tokenize.
"""

import zlib
from typing import Any

from deployments.errors import BadRequest
from deployments.models.scripted.prompt import text_of

VOCABULARY = 256


def text_of_tokens(tokens: list[int]) -> str:
    """Return the text that `tokens` stand for; raises BadRequest for one that does not exist."""
    if any(not 0 <= token < VOCABULARY for token in tokens):
        raise BadRequest(f"A token is outside of the model's vocabulary of {VOCABULARY}.", "tokens")
    return bytes(tokens).decode(errors="replace")


def tokenized(request: dict[str, Any], max_model_len: int) -> dict[str, Any]:
    """Return vLLM's answer to a tokenize request, of a `prompt` or of a chat's `messages`."""
    messages = request.get("messages")
    text = request["prompt"] if messages is None else "\n".join(map(text_of, messages))
    tokens = list(text.encode(errors="replace"))
    strings = [chr(token) for token in tokens] if request.get("return_token_strs") else None
    return {"count": len(tokens), "max_model_len": max_model_len, "tokens": tokens, "token_strs": strings}


def made_up_id(event: bytes) -> int:
    """Return the id of the token that an event of an answer carries: another one for another text."""
    _, _, choices = event.partition(b'"choices":')
    return zlib.crc32(choices)


def detokenized(request: dict[str, Any]) -> dict[str, Any]:
    """Return vLLM's answer to a detokenize request."""
    return {"prompt": text_of_tokens(request["tokens"])}
