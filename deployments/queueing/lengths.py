"""How long answers are, from those that ended: a bound of a request says little, and often there is none."""

from collections import OrderedDict

LEARNT = 0.2
MAX_KEYS = 10_000


class AnswerLengths:
    """The mean length of a key's answers; of all keys' for one that had none yet."""

    def __init__(self, assumed: float = 256.0) -> None:
        self._mean = assumed
        self._by_key: OrderedDict[str, float] = OrderedDict()

    def expected(self, key_id: str) -> float:
        """Return about how many tokens the next answer has."""
        return self._by_key.get(key_id, self._mean)

    def note(self, key_id: str, tokens: float) -> None:
        """Learn from an answer that has ended."""
        self._mean += LEARNT / 4 * (tokens - self._mean)
        before = self._by_key.pop(key_id, self._mean)
        self._by_key[key_id] = before + LEARNT * (tokens - before)
        if len(self._by_key) > MAX_KEYS:
            self._by_key.popitem(last=False)
