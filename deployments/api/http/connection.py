"""The connection of one client, watched while its request is answered."""

import asyncio
from types import TracebackType
from typing import Any, ClassVar

from starlette.types import Receive

from deployments.errors import ChatLLMError


class ClientGone(Exception):
    """The client closed its connection before the answer was complete."""


class Connection:
    """Cancels what runs inside of it when the client leaves, and raises ClientGone in its place.

    The server may end it as well: `interrupt`.

        with connection:
            answer = await work()

    It can be entered again, one after the other, until it is closed; one task
    watches all the while. The request's body must have been read before.
    """

    opened: ClassVar[set["Connection"]] = set()
    """All of this process that are not closed."""

    def __init__(self, receive: Receive) -> None:
        """`receive` is the ASGI server's; nobody else may call it from now on."""
        self._end: ChatLLMError | ClientGone | None = None
        self._inside: asyncio.Task[Any] | None = None
        self._watcher = asyncio.create_task(_disconnected(receive), name="client")
        self._watcher.add_done_callback(self._left)
        self.opened.add(self)

    def close(self) -> None:
        """Stop watching."""
        self._watcher.cancel()
        self.opened.discard(self)

    def interrupt(self, error: ChatLLMError) -> None:
        """Cancel what runs inside as if the client had left, and raise `error` in its place."""
        if self._end is None:
            self._end = error
            if self._inside is not None:
                self._inside.cancel()

    def __enter__(self) -> None:
        if self._end is not None:
            raise self._end
        self._inside = asyncio.current_task()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        inside, self._inside = self._inside, None
        # A cancellation that somebody else asked for as well goes on.
        end = self._end
        if end is not None and inside is not None and inside.uncancel() == 0 and kind is asyncio.CancelledError:
            raise end from None

    def _left(self, watcher: asyncio.Task[None]) -> None:
        if not watcher.cancelled() and self._end is None:
            self._end = ClientGone()
            if self._inside is not None:
                self._inside.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
