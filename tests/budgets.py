"""How many examples randomized tests try: enough for every run, and ten times as many in `make test-long`."""

import os

FACTOR = int(os.environ.get("EXAMPLES_FACTOR", "1"))


def examples(count: int) -> int:
    """Return how many examples to try where `count` are enough for an ordinary run."""
    return count * FACTOR
