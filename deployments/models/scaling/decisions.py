"""The last decisions of the autoscaler for each deployment, in the key-value store of Ray's head.

Serve's controller makes them; ingress replicas read them there for the operations page.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from deployments.infra.ray import key_value

logger = logging.getLogger(__name__)

MAX_DECISIONS = 50


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of a deployment's target, at a time in Unix seconds; `before` and `after` are numbers of replicas."""

    at: float
    before: int
    after: int
    cause: str
    reason: str

    def __str__(self) -> str:
        return f"{self.before} → {self.after}: {self.reason}"


def record(application: str, deployment: str, decision: Decision) -> None:
    """Keep a decision with those before it; a call to Ray's head, whose errors it raises."""
    decisions = [*recorded(application, deployment), decision][-MAX_DECISIONS:]
    key_value.put(_key(application, deployment), msgspec.json.encode(decisions))


def recorded(application: str, deployment: str) -> Sequence[Decision]:
    """Return the decisions, the oldest first; none that another version has written. A call to Ray's head."""
    found = key_value.get(_key(application, deployment))
    if not found:
        return []
    try:
        return msgspec.json.decode(found, type=list[Decision])
    except msgspec.MsgspecError:
        return []


async def newest(places: Sequence[tuple[str, tuple[str, str]]]) -> Sequence[tuple[str, Decision]]:
    """Return the last decisions about some models, each with its model's id, the newest first.

    `places` are the models' ids with the names of application and deployment. Takes a call to Ray's head for each;
    there are none while that does not answer.
    """

    def read() -> list[tuple[str, Decision]]:
        return [(model, decision) for model, place in dict(places).items() for decision in recorded(*place)]

    try:
        found = await asyncio.to_thread(read)
    except Exception as error:  # noqa: BLE001 - Ray's errors of any kind: the rest of the page is shown without it
        logger.warning("the autoscaler's decisions cannot be read", extra={"reason": type(error).__name__})
        return []
    return sorted(found, key=lambda each: -each[1].at)[:MAX_DECISIONS]


def _key(application: str, deployment: str) -> str:
    return f"scaling:{application}:{deployment}"
