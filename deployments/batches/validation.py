"""Reads the lines of an input file, and finds what is wrong with them.

Checked here is what a batch as a whole depends on: JSON, ids, the endpoint, the model. Whether the body is a valid
request its endpoint says when it is answered, and then only that line fails.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployments.batches.types import LineError, NewLine
from deployments.infra.threads import run_sized

MAX_ERRORS = 100
"""Past these the rest of the file is not read: who made as many mistakes will send another one."""
MAX_CUSTOM_ID = 512
PAGE_LINES = 500
LINES_IN_A_ROW = 100
"""After so many the event loop goes on with others, whose streams would stand still."""

KnowsModel = Callable[[str | None], bool]


@dataclass
class Validation:
    """What is known of an input so far."""

    endpoint: str
    max_lines: int
    max_line_bytes: int
    knows_model: KnowsModel
    errors: list[LineError] = field(default_factory=list[LineError])
    models: set[str] = field(default_factory=set[str])
    total: int = 0
    _seen: set[bytes] = field(default_factory=set[bytes])

    async def pages(self, content: AsyncIterator[bytes]) -> AsyncGenerator[list[NewLine]]:
        """Yield the valid lines page by page; `errors` has what is wrong with the others, at most `MAX_ERRORS`."""
        page: list[NewLine] = []
        size = 0
        async for number, text in self._lines(content):
            self.total += 1
            if self.total > self.max_lines:
                self._say(None, "too_many_requests", f"The file has more than {self.max_lines:,} requests.")
                break
            line = await run_sized(len(text), self._read, number, text)
            if line is not None and not self.errors:
                page.append(line)
                size += len(line.body)
            if len(self.errors) >= MAX_ERRORS:
                break
            if len(page) >= PAGE_LINES or size >= self.max_line_bytes:
                yield page
                page, size = [], 0
        if not self.total and not self.errors:
            self._say(None, "empty_file", "The input file is empty. Please ensure that the batch contains requests.")
        if page and not self.errors:
            yield page

    @property
    def model(self) -> str | None:
        """What all lines name, None where they differ or none does."""
        return next(iter(self.models)) if len(self.models) == 1 else None

    async def _lines(self, content: AsyncIterator[bytes]) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield the lines that are not empty and fit, by their numbers; others have their turn now and then."""
        number, empty, rest = 0, 0, b""
        async for data in content:
            *whole, rest = (rest + data).split(b"\n")
            for text in whole:
                number += 1
                if number % LINES_IN_A_ROW == 0:
                    await asyncio.sleep(0)
                if not text.strip():
                    empty += 1
                elif self._fits(number, text):
                    yield number, text
            if empty > self.max_lines:
                self._say(None, "too_many_requests", f"The file has more than {self.max_lines:,} empty lines.")
                return
            if len(self.errors) >= MAX_ERRORS or not self._fits(number + 1, rest):
                return
        if rest.strip():
            yield number + 1, rest

    def _fits(self, number: int, text: bytes) -> bool:
        if len(text) <= self.max_line_bytes:
            return True
        self._say(number, "line_too_long", f"A line may have at most {self.max_line_bytes:,} bytes.")
        return False

    def _read(self, number: int, text: bytes) -> NewLine | None:
        """Return a line, or None and say what is wrong with it."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return self._say(number, "invalid_json_line", "This line is not parseable as valid JSON.")
        if not isinstance(value, dict):
            return self._say(number, "invalid_json_line", "A line must be a JSON object.")
        given: dict[str, Any] = value
        custom_id, body = given.get("custom_id"), given.get("body")
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MAX_CUSTOM_ID or not custom_id.isprintable():
            message = f"'custom_id' must be a string of 1 to {MAX_CUSTOM_ID} printable characters."
            return self._say(number, "invalid_custom_id" if "custom_id" in given else MISSING, message, "custom_id")
        if given.get("method") != "POST":
            return self._say(number, "invalid_method", "'method' must be 'POST'.", "method")
        if given.get("url") != self.endpoint:
            message = f"The URL provided for this request does not match the batch's endpoint {self.endpoint}."
            return self._say(number, "invalid_url", message, "url")
        if not isinstance(body, dict):
            code = "invalid_body" if "body" in given else MISSING
            return self._say(number, code, "'body' must be a JSON object, the request itself.", "body")
        if (problem := self._problem_of(body)) is not None:
            return self._say(number, *problem)
        digest = hashlib.blake2b(custom_id.encode(errors="replace"), digest_size=16).digest()
        if digest in self._seen:
            message = "The custom_id for this request is a duplicate of another request."
            return self._say(number, "duplicate_custom_id", message, "custom_id")
        self._seen.add(digest)
        try:
            return NewLine(number, custom_id, orjson.dumps(body))
        except orjson.JSONEncodeError:
            return self._say(number, "invalid_json_line", "This line is nested too deeply.", "body")

    def _problem_of(self, body: dict[str, Any]) -> tuple[str, str, str] | None:
        """Return what no request of a batch may be: its code, a message and the field."""
        for name in ("stream", "background"):
            if body.get(name):
                return "invalid_request", f"'{name}' is not supported in a batch.", f"body.{name}"
        model = body.get("model")
        if model is not None and not isinstance(model, str):
            return "invalid_request", "'model' must be a string.", "body.model"
        if not self.knows_model(model):
            return "model_not_found", f"The model '{(model or '')[:200]}' does not exist.", "body.model"
        self.models.add(model or "")
        return None

    def _say(self, line: int | None, code: str, message: str, param: str | None = None) -> None:
        self.errors.append(LineError(code, message, line, param))


MISSING = "missing_required_parameter"
