"""How long answers may take to end at a stop: what `chatllm down` tells the launcher, and the launcher Ray's process.

Both are one small file in the state folder: a signal alone says only that there is to be a stop.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A stop that is asked for."""

    deadline_s: float
    until: float | None = None
    """When the deadline passes (seconds since the epoch), once the launcher has begun to stop."""

    @classmethod
    def read(cls, state: Path) -> Self | None:
        """Return what was asked for; None where nothing was, or nothing that can be read."""
        try:
            return cls(**json.loads(_path(state).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, state: Path) -> None:
        """Replace the request as a whole."""
        new = _path(state).with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), encoding="utf-8")
        new.replace(_path(state))


def forget(state: Path) -> None:
    """Remove the request."""
    _path(state).unlink(missing_ok=True)


def _path(state: Path) -> Path:
    return state / "stop.json"
