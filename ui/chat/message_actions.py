"""Actions for messages of the transcript; implemented by the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ui.state.thread import Turn


@dataclass(frozen=True, slots=True)
class Actions:
    """Each may be called at any time; one that is currently impossible does nothing."""

    retry: Callable[[], Any]
    regenerate: Callable[[Turn], Any]
    edit: Callable[[Turn, str], Any]
    proceed: Callable[[Turn], Any]
    walk: Callable[[str], Any]
    stop: Callable[[], Any]
