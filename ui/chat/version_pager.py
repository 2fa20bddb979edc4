"""Navigation between versions of a question or an answer: previous, 2/3, next."""

from collections.abc import Callable
from typing import Any

from ui.i18n import t
from ui.widgets.elements import icon_button, tag, text_element


class Pager:
    """Hidden if there is only one version."""

    def __init__(self, number: int, on_walk: Callable[[str], Any]) -> None:
        self._on_walk = on_walk
        self._versions: tuple[str, ...] = ()
        self._version = 0
        self._root = tag("div", "pager", role="group", aria_label=t("Versions"))
        with self._root:
            icon_button("back", t("Previous version"), lambda: self._step(-1)).mark(f"previous-{number}")
            self._place = text_element("span", "", "pager-place")
            icon_button("next", t("Next version"), lambda: self._step(1)).mark(f"next-{number}")
        self.show((), 0)

    def show(self, versions: tuple[str, ...], version: int) -> None:
        """Show which version is displayed."""
        self._versions, self._version = versions, version
        self._root.set_visibility(len(versions) > 1)
        self._place.text = f"{version + 1}/{len(versions)}"

    def _step(self, step: int) -> Any:
        at = self._version + step
        return self._on_walk(self._versions[at]) if 0 <= at < len(self._versions) else None
