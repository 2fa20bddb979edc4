"""How many responses of one key run in the background at once, over all ingress replicas."""

from datetime import UTC, datetime
from typing import Any

from deployments.errors import TooManyRequests
from deployments.keys.types import KeyLimits
from deployments.limits.limiter import Admission, Limiter

RETRY_AFTER_S = 5.0


class BackgroundPlaces:
    """The places of all keys, leased like those of what runs at once; per replica while Redis is away."""

    def __init__(self, limiter: Limiter, per_key: int) -> None:
        self._limiter = limiter
        self._limits = KeyLimits(concurrent_requests=per_key)

    async def take(self, key_id: str) -> Admission:
        """Return a place of a key, which must be ended; raises TooManyRequests if all are taken."""
        admission = await self._limiter.admit(_name(key_id), self._limits, requests=0)
        if admission.is_refused:
            raise TooManyRequests(
                f"This key runs {self._limits.concurrent_requests} responses in the background at once, as many as it "
                "may. It may run more as soon as one has ended.",
                None,
                RETRY_AFTER_S,
            )
        return admission

    def retake(self, key_id: str, response_id: str) -> Admission:
        """Return a place for a response of a replica that is lost, whether or not one is free."""
        record: dict[str, Any] = {
            "key_id": _name(key_id),
            "limits": {"concurrent_requests": self._limits.concurrent_requests},
            "requests": 0,
            "tokens": 0,
            "lease": response_id,
            "month": f"{datetime.now(UTC):%Y-%m}",
            "counted_remotely": 0,
        }
        return self._limiter.resume(record)


def _name(key_id: str) -> str:
    return f"{key_id}:background"
