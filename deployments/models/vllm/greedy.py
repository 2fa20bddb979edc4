"""What OpenAI lets a request ask of greedy decoding and vLLM refuses: `top_p: 0`, and several choices.

Greedy answers to one prompt are all alike, so that one is generated and sent as
often as it was asked for; its tokens count each time, as OpenAI counts them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from deployments.models.assembly import payloads, sse
from deployments.models.protocol import Frames, Message, Reply


def settle_greedy(body: dict[str, Any]) -> int:
    """Change a request to what vLLM takes; return how often its answer is to be sent, usually once.

    `top_p: 0` leaves the most probable token alone, which is what temperature 0 means.
    """
    if body.get("top_p") == 0:
        del body["top_p"]
        body["temperature"] = 0
    choices = body.get("n") or 1
    if body.get("temperature") != 0 or choices == 1 or body.get("use_beam_search"):
        return 1
    body["n"] = 1
    return choices


def repeated(message: Message, times: int) -> Message:
    """Return what a message of one answer is where that answer is sent `times` times."""
    if times == 1:
        return message
    if isinstance(message, Frames):
        return replace(message, data=b"".join(_event(event, times) for event in payloads(message.data)))
    if isinstance(message, Reply):
        whole = _counted(orjson.loads(message.body), times)
        whole["choices"] = [_copy(choice, at, times) for choice in whole["choices"] for at in range(times)]
        return replace(message, body=orjson.dumps(whole), completion_tokens=message.completion_tokens * times)
    return message


def _event(event: dict[str, Any], times: int) -> bytes:
    choices: list[dict[str, Any]] = event.get("choices") or []
    counted = _counted(event, times)
    if not choices:
        return sse(counted)
    return b"".join(
        sse({**counted, "choices": [_copy(choice, at, times) for choice in choices]}) for at in range(times)
    )


def _copy(choice: Mapping[str, Any], at: int, times: int) -> dict[str, Any]:
    """Return a choice as one of several; those of the next prompt, if there is one, follow all of this one's."""
    return {**choice, "index": choice["index"] * times + at}


def _counted(body: dict[str, Any], times: int) -> dict[str, Any]:
    usage = body.get("usage")
    if not usage:
        return body
    counted: dict[str, Any] = {**usage, "completion_tokens": usage["completion_tokens"] * times}
    counted["total_tokens"] = usage["prompt_tokens"] + counted["completion_tokens"]
    if details := usage.get("completion_tokens_details"):
        counted["completion_tokens_details"] = {k: v and v * times for k, v in details.items()}
    return {**body, "usage": counted}
