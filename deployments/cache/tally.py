"""Counts by reason, with an optional listener for each increment."""

from collections import Counter
from collections.abc import Callable


class Tally(Counter[str]):
    """A counter of words; `tell` is called with each word and how often it was counted."""

    tell: Callable[[str, int], None] | None = None

    def count(self, word: str, times: int = 1) -> None:
        """Count a word."""
        self[word] += times
        if self.tell is not None:
            self.tell(word, times)
