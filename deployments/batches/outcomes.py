"""What came of a line, as it stands in the output or error file."""

import secrets
from typing import Any

import orjson

from deployments.batches.types import Batch, ClaimedLine, DoneLine, LineAnswer, Outcome, Tokens

UNANSWERED = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    "completed": ("server_error", "This request was not executed."),
}
"""OpenAI's guide "Batch API"; the last one never happens."""


def answered(line: ClaimedLine, answer: LineAnswer) -> Outcome:
    """Return the outcome of a line that the service has answered, well or not."""
    is_error = answer.status >= 400
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": answer.body}
    text = _text(line.custom_id, response, None)
    return Outcome(line.claim, text, is_error, Tokens() if is_error else _tokens(answer.body))


def lost(line: ClaimedLine) -> Outcome:
    """Return the outcome of a line whose replicas died again and again."""
    error = {"code": "server_error", "message": "The servers that were to answer this request were lost."}
    return Outcome(line.claim, _text(line.custom_id, None, error), True)


def unanswered(batch: Batch, line: DoneLine) -> bytes:
    """Return what stands in the error file for a line that was not answered before the batch ended."""
    code, message = UNANSWERED[batch.ending]
    return _text(line.custom_id, None, {"code": code, "message": message})


def _text(custom_id: str, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    id_ = f"batch_req_{secrets.token_hex(12)}"
    return orjson.dumps({"id": id_, "custom_id": custom_id, "response": response, "error": error}) + b"\n"


def _tokens(body: Any) -> Tokens:
    """Return the usage of an answer of any endpoint."""
    usage: dict[str, Any] = (body.get("usage") if isinstance(body, dict) else None) or {}
    of_prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    of_answer = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return Tokens(
        input=usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        cached=of_prompt.get("cached_tokens") or 0,
        output=usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        reasoning=of_answer.get("reasoning_tokens") or 0,
    )
