"""Spaces the starts of lines, so that those who wait for an answer on the same event loop notice nothing of them.

Lines of one batch are alike: begun together they end together, and are begun together again. A replica that starts
sixty at once serves nobody else for a quarter of a second. Spaced they stay spaced, and the more the event loop has to
do, the wider.
"""

import asyncio

SPACE_S = 0.004
MAX_SPACE_S = 0.1
LAG_FACTOR = 2.0
"""How much wider the space is than the event loop was late: it then has a third of its time for starts, at most."""


class Pace:
    """Gives turns one after another."""

    def __init__(self) -> None:
        self._space_s = SPACE_S
        self._turn = asyncio.Lock()

    async def turn(self) -> None:
        """Wait for one's turn; cancelled, the next one has it."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.sleep(self._space_s)
            late_s = loop.time() - began - self._space_s
            self._space_s = min(MAX_SPACE_S, SPACE_S + LAG_FACTOR * max(0.0, late_s))
