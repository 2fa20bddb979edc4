"""JSON as Postgres can hold it."""

import re
from typing import Any

import orjson

from deployments.errors import BadRequest

# An escaped NUL, with an even number of backslashes before it: an odd one belongs to the escape before.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def encode(value: Any) -> str:
    """Return `value` as JSON for a jsonb column; BadRequest if it is not JSON.

    Postgres's text cannot hold NUL; it becomes U+FFFD, since losing an answer
    for the sake of one character would be worse.
    """
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, RecursionError) as error:  # orjson's own error is a TypeError
        raise BadRequest("this cannot be stored: it is not valid JSON, or nested too deeply") from error
    return _NUL.sub("\\1\ufffd", text) if "\\u0000" in text else text


def clean(text: str) -> str:
    """Return `text` in a form that a text column can hold; BadRequest if it is not valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("this text is not valid Unicode") from error
    return text.replace("\0", "\ufffd")
