"""The line above the composer that tells of a service that starts, or of a model that loads."""

from collections.abc import Callable, Coroutine
from typing import Any

from nicegui import background_tasks

from ui.api.readiness import Phase, Status
from ui.i18n import t
from ui.widgets.elements import attribute, tag, text_element

WORDS = {
    "starting": ("The service is starting", "This page updates by itself."),
    "loading": ("The model is loading", "You can write now; your message is sent when the model is ready."),
    "failed": ("The model could not be loaded", "The reason is in the service's log."),
}

STEPS = {
    "downloading": "Downloading",
    "reading_weights": "Reading the weights",
    "compiling": "Compiling",
    "warming_up": "Warming up",
}
"""What a replica does while its model loads, by the API's names of it."""


class StatusLine:
    """Hidden while all is well."""

    def __init__(self, on_change: Callable[[Phase], Coroutine[Any, Any, None]]) -> None:
        self._on_change = on_change
        self._phase: Phase | None = None
        self._root = tag("div", "status", role="status").mark("status")
        with self._root:
            tag("span", "status-mark")
            with tag("div", "status-words"):
                self._title = text_element("span", "", "status-title")
                self._elapsed = text_element("span", "", "status-elapsed")
                self._detail = text_element("div", "", "status-detail")

    def show(self, status: Status) -> None:
        """Show how the chosen model stands; tells `on_change` when that changes, "ready" if another one answers."""
        is_ready = status.phase == "ready"
        self._root.set_visibility(not is_ready)
        if not is_ready:
            title, detail = WORDS[status.phase]
            self._title.text = t(title)
            self._detail.text = status.message or t(detail)
            if status.stand_in:
                self._detail.text = t("{model} answers in its place.", model=status.stand_in)
            self._elapsed.text = "" if status.phase == "failed" else progress(status)
            attribute(self._root, data_phase=status.phase)
        phase = "ready" if status.can_answer else status.phase
        if phase != self._phase:
            self._phase = phase
            background_tasks.create(self._on_change(phase), name="readiness has changed")


def progress(status: Status) -> str:
    """Return how far a start has come: what is being done, how much of it, and for how long out of about how long."""
    said = [t(STEPS[status.step])] if status.step in STEPS else []
    if said and status.percent is not None:
        said = [f"{said[0]} {status.percent} %"]
    elapsed = clock(status.elapsed_s)
    if status.expected_s is not None and status.elapsed_s < status.expected_s:
        elapsed = t("{elapsed} of about {expected}", elapsed=elapsed, expected=clock(status.expected_s))
    return " · ".join([*said, elapsed])


def clock(elapsed_s: float) -> str:
    """Return elapsed seconds as a person reads them."""
    whole = int(elapsed_s)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
