"""A request in LangChain's terms: the prompt as its chat models write it, and a string for everything else.

In LangChain's caches the second (`llm_string`) names the model and its settings: what
differs there never meets. Here it holds the tenant, the model's identity, the mark of
the last purge, and every field of the request that can change the answer but the
messages themselves.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from langchain_core.load import dumps
from langchain_core.messages import convert_to_messages

from deployments.cache.key import fields_of
from deployments.cache.remote import SimilarQuery


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a LangChain cache is asked; the rest is what a whole answer to it looks like."""

    prompt: str
    llm_string: str
    model: str
    choices: int
    is_chat: bool

    @property
    def scope(self) -> str:
        """What stands for the `llm_string` in an answer, to tell whether it was given to the same."""
        return hashlib.sha256(self.llm_string.encode()).hexdigest()


def prompt_of(query: SimilarQuery, mark: str) -> Prompt | None:
    """Return the prompt, None where LangChain has no form for the request: tokens, messages that it does not know."""
    request: dict[str, Any] = json.loads(query.body)
    is_chat = query.endpoint == "chat"
    content = request.pop("messages" if is_chat else "prompt", None)
    try:
        prompt = dumps(convert_to_messages(content)) if is_chat else content
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RecursionError):
        return None
    if not isinstance(prompt, str):
        return None
    version, tenant, model, _ = query.key.split(":", 3)
    endpoint = [query.endpoint, *(["trimmed"] if query.is_trimmed else [])]
    settings = ["chatllm", version, endpoint, tenant, model, mark, fields_of(request)]
    llm_string = json.dumps(settings, separators=(",", ":"))
    return Prompt(prompt, llm_string, str(request.get("model")), request.get("n") or 1, is_chat)
