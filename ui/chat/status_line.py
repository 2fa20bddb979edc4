"""The line above the composer that shows a starting service or a loading model."""

from collections.abc import Callable, Coroutine
from typing import Any

from nicegui import background_tasks

from ui.api.readiness import Phase, Status
from ui.i18n import percent, t
from ui.widgets.elements import attribute, tag, text_element

WORDS = {
    "starting": ("The service is starting", "This page updates automatically."),
    "loading": ("The model is loading", "You can write now. Your message will be sent when the model is ready."),
    "asleep": ("The model is asleep", "Your message wakes it up."),
    "waking": ("The model is waking up", "The answer begins as soon as it is ready."),
    "failed": ("The model could not be loaded", "See the service log for details."),
}

STEPS = {
    "downloading": "Downloading",
    "reading_weights": "Loading weights",
    "compiling": "Compiling",
    "warming_up": "Warming up",
}
"""What a replica does while its model loads, by the API's names of it."""


class StatusLine:
    """Hidden while all is well."""

    def __init__(self, on_change: Callable[[Phase], Coroutine[Any, Any, None]]) -> None:
        self._on_change = on_change
        self._phase: Phase | None = None
        self._was_asleep = False
        self._root = tag("div", "status", role="status").mark("status")
        with self._root:
            tag("span", "status-mark")
            with tag("div", "status-words"):
                self._title = text_element("span", "", "status-title")
                self._elapsed = text_element("span", "", "status-elapsed")
                self._detail = text_element("div", "", "status-detail")

    def show(self, status: Status) -> None:
        """Show the chosen model's state; `on_change` gets every change, "ready" if a fallback answers."""
        is_ready = status.phase == "ready"
        self._root.set_visibility(not is_ready)
        if not is_ready:
            self._was_asleep = status.phase == "asleep" or (self._was_asleep and status.phase == "loading")
            title, detail = WORDS["waking" if self._was_asleep and status.phase == "loading" else status.phase]
            self._title.text = t(title)
            self._detail.text = status.message or t(detail)
            if status.phase == "asleep" and status.remaining_s is not None:
                self._detail.text = t("Your message wakes it up: about {wait}.", wait=clock(status.remaining_s))
            if status.stand_in:
                self._detail.text = t("{model} is answering in its place.", model=status.stand_in)
            self._elapsed.text = "" if status.phase in ("failed", "asleep") else progress(status)
            attribute(self._root, data_phase=status.phase)
        self._was_asleep = self._was_asleep and not is_ready
        phase = "ready" if status.can_answer else status.phase
        if phase != self._phase:
            self._phase = phase
            background_tasks.create(self._on_change(phase), name="readiness has changed")


def progress(status: Status) -> str:
    """Return the progress of a start: the step, its percentage, and the elapsed and expected time."""
    parts = [t(STEPS[status.step])] if status.step in STEPS else []
    if parts and status.percent is not None:
        parts = [f"{parts[0]} {percent(status.percent)}"]
    elapsed = clock(status.elapsed_s)
    if status.expected_s is not None and status.elapsed_s < status.expected_s:
        elapsed = t("{elapsed} of about {expected}", elapsed=elapsed, expected=clock(status.expected_s))
    if status.remaining_s is not None and status.phase == "loading":
        elapsed = t("about {wait} left", wait=clock(max(1.0, status.remaining_s)))
    return " · ".join([*parts, elapsed])


def clock(elapsed_s: float) -> str:
    """Return elapsed seconds as readable text."""
    whole = int(elapsed_s)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
