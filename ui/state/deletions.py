"""Delayed deletions of conversations, which can be undone for a few seconds."""

import asyncio
from collections.abc import Callable

from ui.api.client import Api
from ui.api.errors import ApiError
from ui.state.tasks import Tasks, log_failure

UNDO_S = 8.0


class Deletions:
    """Owned by the process: closing a browser cancels nothing, and pending deletions complete on shutdown."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._tasks = Tasks()

    @property
    def pending(self) -> list[str]:
        """The conversations that are to be deleted."""
        return list(self._waiting)

    def schedule(self, conversation_id: str, on_error: Callable[[ApiError], None]) -> None:
        """Delete the conversation in `UNDO_S` seconds; `on_error` gets a failure, which leaves it in place."""
        if conversation_id not in self._waiting:
            task = self._tasks.start(self._later(conversation_id, on_error), f"delete {conversation_id}")
            self._waiting[conversation_id] = task

    def undo(self, conversation_id: str) -> bool:
        """Cancel a deletion; False if it is too late."""
        task = self._waiting.pop(conversation_id, None)
        return task is not None and task.cancel()

    async def aclose(self) -> None:
        """Complete all pending deletions now; failures are logged and do not stop the others."""
        for conversation_id in self.pending:
            self.undo(conversation_id)
            try:
                await self._delete(conversation_id, lambda _: None)
            except Exception as error:  # noqa: BLE001  the border of each deletion
                log_failure(f"deleting {conversation_id} failed", error)
        await self._tasks.settled()

    async def _later(self, conversation_id: str, on_error: Callable[[ApiError], None]) -> None:
        await asyncio.sleep(UNDO_S)
        self._waiting.pop(conversation_id, None)
        await self._delete(conversation_id, on_error)

    async def _delete(self, conversation_id: str, on_error: Callable[[ApiError], None]) -> None:
        try:
            await self._api.delete(conversation_id)
        except ApiError as error:
            if error.status != 404:
                on_error(error)
