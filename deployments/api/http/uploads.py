"""How many uploads of a kind one ingress replica holds at once."""

from collections.abc import Generator
from contextlib import contextmanager

from deployments.errors import Overloaded


class Uploads:
    """Uploads that are held, which are bounded: each has many megabytes, or writes many."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._held = 0

    @contextmanager
    def place(self, limit: int) -> Generator[None]:
        """Hold one; raises Overloaded where there is no room."""
        if self._held >= limit:
            raise Overloaded(self._refusal, None, 1.0)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
