"""The choices of a text completion (`/v1/completions`), token by token."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployments.errors import BadRequest
from deployments.models.scripted.chat import TOKEN, logprob, stopped
from deployments.models.scripted.tokens import text_of_tokens

DEFAULT_MAX_TOKENS = 16
"""OpenAI API reference, "Create completion": `max_tokens`."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What follows one prompt: the prompt's own tokens if it is to be echoed, the new ones, and why they end."""

    echoed: list[str]
    tokens: list[str]
    finish_reason: str
    stop_reason: str | None = None


def prompts_of(request: dict[str, Any]) -> list[str]:
    """Return the prompts as texts, whichever of OpenAI's four forms they have."""
    prompt = request.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise BadRequest("'prompt' must be a string, tokens, or a list of either.", "prompt")
    if isinstance(prompt[0], int):
        return [text_of_tokens(prompt)]
    return [one if isinstance(one, str) else text_of_tokens(one) for one in prompt]


def continuations(request: dict[str, Any], tokens: int) -> list[Continuation]:
    """Return `n` continuations of each prompt: its words repeated, at most `tokens` of them."""
    if request.get("suffix"):
        raise BadRequest("This model does not support a suffix.", "suffix")
    most = request.get("max_tokens")
    most = DEFAULT_MAX_TOKENS if most is None else most
    found: list[Continuation] = []
    for prompt, index in itertools.product(prompts_of(request), range(request.get("n") or 1)):
        words = prompt.split() or ["nothing"]
        repeated = itertools.islice(itertools.cycle(words), index, index + min(most, tokens))
        text, stop_reason = stopped("".join(f"{word} " for word in repeated), request.get("stop"))
        reason = "stop" if stop_reason or most >= tokens else "length"
        echoed = TOKEN.findall(prompt) if request.get("echo") else []
        found.append(Continuation(echoed, TOKEN.findall(text), reason, stop_reason))
    return found


def completion_chunks(answers: list[Continuation], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the `choices` entry of each event: the echo, the tokens of all choices in turn, the ends."""
    shown = request.get("logprobs")
    offsets = [0] * len(answers)
    for step in itertools.zip_longest(*(one.echoed + one.tokens for one in answers)):
        for index, token in enumerate(step):
            if token is not None:
                logprobs = None if shown is None else _logprobs(token, offsets[index], shown)
                offsets[index] += len(token)
                yield {"index": index, "text": token, "logprobs": logprobs, "finish_reason": None}
    for index, one in enumerate(answers):
        ending = {"stop_reason": one.stop_reason} if one.stop_reason else {}
        yield {"index": index, "text": "", "logprobs": None, "finish_reason": one.finish_reason, **ending}


def _logprobs(token: str, offset: int, shown: int) -> dict[str, Any]:
    best = {token + "~" * rank: logprob(token) - rank for rank in range(max(1, shown))}
    return {"text_offset": [offset], "tokens": [token], "token_logprobs": [logprob(token)], "top_logprobs": [best]}
