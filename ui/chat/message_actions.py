"""What can be done with a message of the transcript; the page does it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ui.state.thread import Turn


@dataclass(frozen=True, slots=True)
class Actions:
    """Each may be called at any time; what is impossible just then does nothing."""

    retry: Callable[[], Any]
    regenerate: Callable[[Turn], Any]
    edit: Callable[[Turn, str], Any]
    proceed: Callable[[Turn], Any]
    walk: Callable[[str], Any]
    stop: Callable[[], Any]
