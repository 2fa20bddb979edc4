"""The last decisions of the autoscaler for each deployment, in the key-value store of Ray's head.

Serve's controller makes them; ingress replicas read them there for the operations page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from deployments.infra.ray import key_value
from deployments.infra.threads import KeptAnswer

MAX_DECISIONS = 50
TIMEOUT_S = 2.0


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


_Places = Sequence[tuple[str, tuple[str, str]]]
_Found = Sequence[tuple[str, Decision]]


class NewestDecisions:
    """The last decisions about some models, for the operations page."""

    def __init__(self) -> None:
        self._kept = KeptAnswer[_Found]("autoscaler's decisions", ())

    async def of(self, places: _Places) -> _Found:
        """Return each with its model's id, the newest first; what was known before if Ray's head is silent for 2 s.

        `places` are the models' ids with the names of application and deployment. Takes a call to the head for each.
        """
        return await self._kept.of(lambda: _read(places), TIMEOUT_S)


def _read(places: _Places) -> _Found:
    found = [(model, decision) for model, place in dict(places).items() for decision in recorded(*place)]
    return sorted(found, key=lambda each: -each[1].at)[:MAX_DECISIONS]


_newest = NewestDecisions()


async def newest(places: _Places) -> _Found:
    """Return the last decisions about some models, as `NewestDecisions` reads them for this process."""
    return await _newest.of(places)


def _key(application: str, deployment: str) -> str:
    return f"scaling:{application}:{deployment}"
