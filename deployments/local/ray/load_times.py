"""How long models took to load on this machine, kept in the state folder for the next start's estimate."""

import json
from pathlib import Path
from typing import Any, cast

MAX_KEPT = 100


def read(state: Path) -> dict[str, float]:
    """Return the seconds by the deployments' names; nothing where none were kept."""
    try:
        found: Any = json.loads(_path(state).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    return {name: float(took_s) for name, took_s in entries.items() if isinstance(took_s, int | float)}


def keep(state: Path, deployment: str, took_s: float) -> None:
    """Note the seconds of a load that has ended; a reader sees the old file or the new one."""
    entries = read(state)
    entries.pop(deployment, None)  # the newest stands last
    kept = dict([*entries.items(), (deployment, took_s)][-MAX_KEPT:])
    new = _path(state).with_suffix(".new")
    new.write_text(json.dumps(kept), encoding="utf-8")
    new.replace(_path(state))


def _path(state: Path) -> Path:
    return state / "load_times.json"
