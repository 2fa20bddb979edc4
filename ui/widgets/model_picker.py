"""The model picker: a menu only if there are several models."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ui.api.readiness import Phase
from ui.i18n import t
from ui.widgets.elements import attribute, tag, text_element
from ui.widgets.menu import Menu, Option


class Picker:
    """Shows the model that answers; `marker` tells several pickers of a page apart."""

    def __init__(self, on_pick: Callable[[str], Any], label: str, marker: str = "") -> None:
        self._on_pick, self._label, self._marker = on_pick, label, marker
        self._drawn: tuple[tuple[tuple[str, Phase], ...], str | None] | None = None
        self._root = tag("div", "picker")

    def show(self, models: Mapping[str, Phase], current: str | None) -> None:
        """Show the chosen model and the alternatives, each with its state."""
        if self._drawn == (drawn := (tuple(models.items()), current)):
            return
        self._drawn = drawn
        self._root.clear()
        with self._root:
            if len(models) < 2:
                text_element("div", current or "", "model")
                return
            choice = text_element("button", current or "", "model choice").mark(f"{self._marker}picker")
            attribute(choice, type="button", aria_label=f"{self._label}: {current or ''}")
            Menu(choice, self._label, lambda: [self._option(model, phase, current) for model, phase in models.items()])

    def _option(self, model: str, phase: Phase, current: str | None) -> Option:
        marker, label = f"{self._marker}model-{model}", labelled(model, phase)
        return Option(marker, label, partial(self._on_pick, model), model == current)


def labelled(model: str, phase: Phase) -> str:
    """Return a model's name, with its state if it cannot answer now."""
    notes: dict[Phase, str] = {"asleep": t("asleep"), "loading": t("loading"), "failed": t("failed to load")}
    return f"{model} · {notes[phase]}" if phase in notes else model
