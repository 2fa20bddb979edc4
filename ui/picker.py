"""Which model answers: a menu only where there is something to pick."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ui.menu import Menu, Option
from ui.parts import attribute, tag, words


class Picker:
    """Shows the model that answers; `marker` tells several pickers of a page apart."""

    def __init__(self, on_pick: Callable[[str], Any], label: str, marker: str = "") -> None:
        self._on_pick, self._label, self._marker = on_pick, label, marker
        self._drawn: tuple[tuple[str, ...], str | None] | None = None
        self._root = tag("div", "picker")

    def show(self, models: Sequence[str], current: str | None) -> None:
        """Show the model that answers, and the others to choose from."""
        if self._drawn == (drawn := (tuple(models), current)):
            return
        self._drawn = drawn
        self._root.clear()
        with self._root:
            if len(models) < 2:
                words("div", current or "", "model")
                return
            choice = words("button", current or "", "model choice").mark(f"{self._marker}picker")
            attribute(choice, type="button", aria_label=f"{self._label}: {current or ''}")
            Menu(choice, self._label, lambda: [self._option(model, current) for model in models])

    def _option(self, model: str, current: str | None) -> Option:
        return Option(f"{self._marker}model-{model}", model, partial(self._on_pick, model), model == current)
