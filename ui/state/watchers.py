"""Callbacks that are called one after the other: one that fails is logged, and the others are still called."""

from collections.abc import Callable
from typing import Generic, ParamSpec

from ui.state.tasks import log_failure

P = ParamSpec("P")


class Watchers(Generic[P]):
    """Who is to be called when something happens."""

    def __init__(self, name: str) -> None:
        """`name` says in the log what they watch."""
        self._name = name
        self._watchers: set[Callable[P, object]] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, watcher: Callable[P, object]) -> Callable[[], None]:
        """Call `watcher` from now on; returns how to stop that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def clear(self) -> None:
        """Call nobody any more."""
        self._watchers.clear()

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call everybody who is watching now, but for those who stop watching meanwhile. Never fails."""
        for watcher in list(self._watchers):
            if watcher not in self._watchers:
                continue
            try:
                watcher(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  the border of each: one page's fault is not the others'
                log_failure(f"a watcher of {self._name} failed", error)
