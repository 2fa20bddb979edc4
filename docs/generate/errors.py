"""Errors: the tree of `deployments/errors.py`."""

from collections.abc import Iterator

from deployments.api.http.dialect import OVERLOADED_STATUS
from deployments.errors import ChatLLMError
from docs.generate.markdown import code, paragraphs, prose, table

INTRODUCTION = """
# Error codes

Every endpoint answers an error in OpenAI's shape, with the request's id. Programs read `code`; `message` is for people
and may change.

```json
{"error": {"message": "The model does not exist.", "type": "invalid_request_error", "param": "model",
           "code": "model_not_found", "request_id": "req_…"}}
```
"""
RULES = """
## When to try again

- An answer with `Retry-After` says in how many seconds the same request may succeed.
- Where waiting cannot help, there is no `Retry-After` but `x-should-retry: false`, which OpenAI's SDKs obey.
- After the first byte of a stream a failure is an error event, then the end of the stream. A stream without `[DONE]` is
  not complete. A stream of `/v1/responses` ends with `response.completed`, `response.incomplete` or `response.failed`
  instead, one of `/v1/messages` with `message_stop` or `error`.
"""
OTHERS = """
## Anthropic's shape

Below `/v1/messages` errors have Anthropic's shape and types, with `request-id`, and an overloaded service is a
{overloaded} `overloaded_error`.

## Errors before the service

Where no replica can be reached, HAProxy answers in the same shape: 503, or 502 for a request whose replica was lost,
both with `Retry-After`. Three of its answers are HTML, as HAProxy 2.8 allows nothing else: to headers of more than
63 KiB and to malformed HTTP (400), and to headers that take longer than 10 s (408).
"""


def page() -> str:
    """Return the page."""
    rows = [
        (str(error.status), code(error.code), prose(error.__doc__).partition("\n")[0], _hint(error))
        for error in sorted(every(), key=lambda error: (error.status, error.code, error.__name__))
    ]
    return paragraphs(
        INTRODUCTION,
        table(("status", "code", "what happened", ""), rows),
        RULES,
        OTHERS.format(overloaded=OVERLOADED_STATUS),
    )


def _hint(error: type[ChatLLMError]) -> str:
    return "" if error.may_succeed_later else code("x-should-retry: false")


def every(error: type[ChatLLMError] = ChatLLMError) -> Iterator[type[ChatLLMError]]:
    """Return an error and all below it."""
    yield error
    for below in error.__subclasses__():
        if below.__module__ == ChatLLMError.__module__:
            yield from every(below)
