"""What a handler of vLLM's streams."""

from typing import NamedTuple


class Event(NamedTuple):
    """An event of vLLM's, and the ids (`packed`) of the tokens since the last; None if it cannot be gone on with."""

    text: str
    tokens: bytes | None
