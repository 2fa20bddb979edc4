"""Rate limiting by address with token buckets."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Attempts:
    """One bucket per client address; IPv6 addresses are grouped by their first 64 bits."""

    def __init__(self, burst: int, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._every_s, self._clock = burst, every_s, clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one attempt. Returns 0, or the seconds until one is available."""
        bucket = self._bucket(_network(address))
        if bucket.left < 1:
            return (1 - bucket.left) * self._every_s
        bucket.left -= 1
        return 0.0

    def give_back(self, address: str) -> None:
        """Return an attempt that should not count."""
        bucket = self._bucket(_network(address))
        bucket.left = min(self._burst, bucket.left + 1)

    def _bucket(self, network: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(network, _Bucket(self._burst, now))
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) / self._every_s)
        bucket.at = now
        self._buckets.move_to_end(network)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket


def _network(address: str) -> str:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # a socket without addresses
        return address[:64]
    if isinstance(known, ipaddress.IPv6Address):
        return known.ipv4_mapped.compressed if known.ipv4_mapped else known.exploded[:19]
    return known.compressed
