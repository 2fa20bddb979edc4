"""What came of a line, as it stands in the output or error file.

An answer goes there as it was sent. Embeddings of many texts have tens of MB: to make objects of these and JSON of the
objects again would hold up the event loop for a second, where to find the usage among them takes some hundredths.
"""

import secrets
from typing import Any

import msgspec
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
    body, tokens = _read(answer.body)
    response = {"status_code": answer.status, "request_id": answer.request_id, "body": body}
    return Outcome(line.claim, _text(line.custom_id, response, None), is_error, Tokens() if is_error else tokens)


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


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """The usage in an answer of any endpoint."""

    prompt_tokens: int | None = None
    input_tokens: int | None = None
    completion_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_USAGE = msgspec.json.Decoder(_Answer)


def _read(body: bytes) -> tuple[orjson.Fragment | None, Tokens]:
    """Return an answer as it goes into a line of JSON, None for what is none, and the tokens that it has used."""
    try:
        usage = _USAGE.decode(body).usage or _Usage()
    except msgspec.ValidationError:
        usage = _Usage()
    except msgspec.DecodeError:
        return None, Tokens()
    of_prompt = usage.prompt_tokens_details or usage.input_tokens_details or _Details()
    of_answer = usage.completion_tokens_details or usage.output_tokens_details or _Details()
    tokens = Tokens(
        input=usage.prompt_tokens or usage.input_tokens or 0,
        cached=of_prompt.cached_tokens or 0,
        output=usage.completion_tokens or usage.output_tokens or 0,
        reasoning=of_answer.reasoning_tokens or 0,
    )
    # Within texts a newline is escaped; one between values would end the line of the file.
    return orjson.Fragment(body.replace(b"\n", b" ")), tokens
