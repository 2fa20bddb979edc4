"""The batches of all keys that have not ended, for administrators."""

from pydantic import BaseModel

from ui.api.client import Api
from ui.api.errors import ApiError

MAX_SHOWN = 100


class Counts(BaseModel):
    """How many requests a batch has, and what became of them."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class OpenBatch(BaseModel):
    """A batch that has not ended; times are in Unix seconds."""

    id: str
    key_id: str
    key_name: str | None = None
    model: str | None = None
    endpoint: str = ""
    status: str
    created_at: int
    expires_at: int
    expected_end_at: int | None = None
    request_counts: Counts = Counts()
    running: int = 0


class _Page(BaseModel):
    data: list[OpenBatch]


async def read_batches(api: Api) -> list[OpenBatch] | None:
    """Return the oldest batches that have not ended, None where they cannot be read: the rest of the page is shown."""
    try:
        return (await api.read(_Page, "/v1/admin/batches", limit=MAX_SHOWN)).data
    except ApiError:
        return None
