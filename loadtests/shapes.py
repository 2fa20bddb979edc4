"""How many users there are over time.

LOAD_SHAPE      steady, ramp or spike; without it locust's own options decide
LOAD_USERS      users at the shape's height (50)
LOAD_DURATION   seconds of the whole run (300)
"""

import os

from locust import LoadTestShape

USERS = int(os.environ.get("LOAD_USERS", "50"))
DURATION_S = float(os.environ.get("LOAD_DURATION", "300"))


class Steady(LoadTestShape):
    """All users from the start: what does the service hold for long?"""

    abstract = True

    def tick(self) -> tuple[int, float] | None:
        return (USERS, USERS) if self.get_run_time() < DURATION_S else None


class Ramp(LoadTestShape):
    """From one user to all, in ten steps: at which width does the first token come late? Does autoscaling follow?"""

    abstract = True

    def tick(self) -> tuple[int, float] | None:
        passed = self.get_run_time() / DURATION_S
        step = int(passed * 10) + 1
        return (max(1, USERS * step // 10), USERS) if passed < 1 else None


class Spike(LoadTestShape):
    """A tenth of the users, and all of them in the middle third: does the service refuse in time and recover?"""

    abstract = True

    def tick(self) -> tuple[int, float] | None:
        passed = self.get_run_time() / DURATION_S
        in_spike = 1 / 3 <= passed < 2 / 3
        return (USERS if in_spike else max(1, USERS // 10), USERS) if passed < 1 else None


SHAPES: dict[str, type[LoadTestShape]] = {"steady": Steady, "ramp": Ramp, "spike": Spike}
