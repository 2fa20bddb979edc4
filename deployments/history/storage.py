"""How much a tenant may store: checked where writing is asked for, never where an accepted answer is kept."""

import time
from collections.abc import Awaitable, Callable

from deployments.errors import HistoryUnavailable, StorageFull

TRUSTED_S = 2.0
"""For so long a tenant's bytes are not asked for again; what it writes here meanwhile is added."""
MAX_KNOWN = 10_000


class StorageLimit:
    """What tenants store, as the store told it a moment ago."""

    def __init__(self, stored_bytes: Callable[[str], Awaitable[int]]) -> None:
        self._stored_bytes = stored_bytes
        self._known: dict[str, tuple[float, int]] = {}

    async def ensure_room(self, tenant: str, limit_bytes: int | None, adding_bytes: int) -> None:
        """Raise StorageFull where a request would store more than its tenant may; None is no limit, and costs nothing.

        While the store is away nothing is refused here: what needs the store says so itself.
        """
        if limit_bytes is None:
            return
        known_at, stored = self._known.get(tenant, (float("-inf"), 0))
        if time.monotonic() - known_at >= TRUSTED_S:
            try:
                known_at, stored = time.monotonic(), await self._stored_bytes(tenant)
            except HistoryUnavailable:
                return
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
        if stored + adding_bytes > limit_bytes:
            raise StorageFull(
                f"This key may store {limit_bytes:,} bytes and stores {stored:,}, to which this request adds about "
                f"{adding_bytes:,}. Delete conversations, responses, stored completions or files, or send "
                "'store': false."
            )
        self._known[tenant] = (known_at, stored + adding_bytes)

    def forget(self, tenant: str) -> None:
        """Ask anew for a tenant that has just deleted something."""
        self._known.pop(tenant, None)
