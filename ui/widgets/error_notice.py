"""An error message: what happened, what to do next, and the request ID."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from ui.api.errors import ApiError, explain
from ui.i18n import t
from ui.widgets.elements import attribute, button, tag, text_element


def show_error(error: ApiError, on_retry: Callable[[], Any]) -> ui.element | None:
    """Show a failure; return the retry button if retrying may help."""
    advice, retry = explain(error), None
    with tag("div", "error-notice", role="alert"):
        text_element("div", advice.title, "error-title")
        text_element("div", advice.advice, "error-advice")
        with tag("div", "error-actions"):
            if advice.can_retry:
                retry = button(t("Try again"), on_retry, "small").mark("retry")
            if error.request_id:
                request_id = text_element("button", t("Request {id}", id=error.request_id), "request-id").mark(
                    "request-id"
                )
                attribute(request_id, type="button", data_act="copy-text", data_text=error.request_id)
                attribute(request_id, title=t("Copy request ID"), data_said=t("Copied"))
    return retry
