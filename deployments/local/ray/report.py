"""What the Ray process tells the launcher: a small file, replaced as a whole at every change."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Phase = Literal["starting", "connected", "deployed", "failed", "stopped"]

# The Ray process writes at least this often; older news are no news.
STALE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """The state of one Serve deployment: in Serve's own words, and for a model that loads what its replica told.

    `reason` is one sentence on why it has not loaded, `phase` what its replica does, with how much of that is done.
    """

    status: str
    message: str = ""
    replicas: dict[str, int] = field(default_factory=dict[str, int])
    reason: str = ""
    phase: str = ""
    percent: int | None = None
    has_failed: bool = False
    expected_s: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class RayReport:
    """The state of Ray and of what runs in it."""

    phase: Phase
    written_at: float = field(default_factory=time.time)
    error: str = ""
    gcs: str = ""
    application: str = ""
    message: str = ""
    deployments: dict[str, Deployment] = field(default_factory=dict[str, Deployment])
    dashboard: bool = False
    answers: int | None = None
    """How many answers run that the stop waits for; None as long as there is none."""
    is_drained: bool = False
    """Whether nothing is waited for any more."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the last report, or None if there is none (yet)."""
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        deployments = {name: Deployment(**entry) for name, entry in found.pop("deployments", {}).items()}
        return cls(**found, deployments=deployments)

    def write(self, path: Path) -> None:
        """Replace the report; a reader sees the old one or the new one."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(path)

    def has_failed(self, deployment: str) -> bool:
        """Whether Ray, the application or this deployment will not come up, however often Serve still tries."""
        awaited = self.deployments.get(deployment)
        return self.phase == "failed" or self.application == "DEPLOY_FAILED" or bool(awaited and awaited.has_failed)

    def is_fresh(self) -> bool:
        """Whether the Ray process has written lately."""
        return time.time() - self.written_at < STALE_AFTER_S
