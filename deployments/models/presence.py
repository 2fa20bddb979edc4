"""How many replicas of each deployment run, as this process knows it.

It is a module of its own, which the router imports: Serve sends the router's class, with all that its module holds, to
every process by value, and a registry in there would be another one for each handle.
"""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Presence:
    """How many replicas of a deployment are running, as this process knows it."""

    replicas: int | None = None
    """None until Serve has built the router, which it may put off until the first request."""
    since: float = field(default_factory=time.monotonic)
    """When the number last left or reached zero (monotonic seconds)."""

    places: tuple[tuple[int, int], ...] = ()
    """Of each replica, how many sequences its engine runs at once (0: not known yet) and how many requests it takes."""

    def note(self, replicas: int) -> None:
        if bool(replicas) != bool(self.replicas):
            self.since = time.monotonic()
        self.replicas = replicas


_presence: dict[tuple[str, str], Presence] = {}


def presence(application: str, deployment: str) -> Presence:
    """Return the live record of a deployment, by the names of its application and its own."""
    return _presence.setdefault((application, deployment), Presence())
