"""Whether Ray's own dashboard is running and reachable for this reader."""

import time
from urllib.parse import urlsplit

import httpx

from ui.settings import LOCAL

TIMEOUT_S = 2.0
TRUSTED_S = 30.0


class Dashboard:
    """Checks periodically, for all pages of the process."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_there = False
        self._requested_at = -TRUSTED_S

    async def link(self, page_host: str) -> str:
        """Return its address for a page opened at `host`; "" if it cannot be reached from there."""
        if not self._url or (urlsplit(self._url).hostname in LOCAL and page_host not in LOCAL):
            return ""
        if time.monotonic() - self._requested_at > TRUSTED_S:
            self._requested_at = time.monotonic()
            self._is_there = await self._answers()
        return self._url if self._is_there else ""

    async def _answers(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
                return (await client.get(self._url)).status_code < 500
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
