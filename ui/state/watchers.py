"""Observers, called one after the other; failures are logged and do not affect the others."""

from collections.abc import Callable
from typing import Generic, ParamSpec

from ui.state.tasks import log_failure

P = ParamSpec("P")


class Watchers(Generic[P]):
    """A list of callbacks for one kind of event."""

    def __init__(self, name: str) -> None:
        """`name` identifies the list in the log."""
        self._name = name
        self._watchers: set[Callable[P, object]] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, watcher: Callable[P, object]) -> Callable[[], None]:
        """Add a watcher. Returns a function that removes it."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def clear(self) -> None:
        """Remove all watchers."""
        self._watchers.clear()

    def notify(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all current watchers, except those removed meanwhile. Never raises."""
        for watcher in list(self._watchers):
            if watcher not in self._watchers:
                continue
            try:
                watcher(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  the border of each: one page's fault is not the others'
                log_failure(f"a watcher of {self._name} failed", error)
