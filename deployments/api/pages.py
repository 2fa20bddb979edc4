"""A part of a list as OpenAI's API shows it."""

from typing import Any

from deployments.history.types import Page


def page_object(page: Page[Any], data: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the page with `data`, its elements as they are shown."""
    return {
        "object": "list",
        "data": data,
        "first_id": page.first_id,
        "last_id": page.last_id,
        "has_more": page.has_more,
    }
