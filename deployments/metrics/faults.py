"""The last errors that requests ended with; never what was asked or answered."""

from collections import deque
from collections.abc import Iterable

import msgspec

KEPT = 50


class Fault(msgspec.Struct, array_like=True, frozen=True):
    """A request that ended in an error, at a time of its replica's clock (seconds)."""

    at: float
    status: int
    code: str
    model: str
    request_id: str
    key_id: str


class Faults:
    """The last 50 errors of the service and, apart, the last 50 of its callers, who may make many in a row."""

    def __init__(self) -> None:
        self._own: deque[Fault] = deque(maxlen=KEPT)
        self._callers: deque[Fault] = deque(maxlen=KEPT)

    def note(self, fault: Fault) -> None:
        """Keep an error."""
        (self._own if fault.status >= 500 else self._callers).append(fault)

    def packed(self) -> bytes:
        """Return all that are kept, for another process."""
        return _pack([*self._own, *self._callers])


_pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(list[Fault]).decode
"""Raises msgspec.DecodeError for what is not a list of errors."""


def newest(faults: Iterable[Fault]) -> list[Fault]:
    """Return the last 50 of the service and the last 50 of callers, the newest first."""
    ordered = sorted(faults, key=lambda fault: -fault.at)
    own = [fault for fault in ordered if fault.status >= 500][:KEPT]
    return sorted(own + [fault for fault in ordered if fault.status < 500][:KEPT], key=lambda fault: -fault.at)
