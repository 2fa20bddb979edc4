"""Keeping an answer that was asked for with `store: true`, whichever kind of turn it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from deployments.chat.call import ChatCall
from deployments.chat.ports import Conversations, Turn
from deployments.errors import BadRequest
from deployments.history.stored.store import CompletionStore, NewCompletion
from deployments.history.writer import HistoryWriter
from deployments.infra.postgres.encoding import encode

SETTLE_TIMEOUT_S = 1.0
MAX_METADATA, MAX_KEY, MAX_VALUE = 16, 64, 512
"""Pairs, and characters of a key and of a value (OpenAI API reference, "metadata")."""


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn whose answer is kept as a stored completion too, once it is whole."""

    inner: Turn
    store: CompletionStore
    writer: HistoryWriter
    tenant: str
    request: Mapping[str, Any]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.inner.messages

    @property
    def may_trim(self) -> bool:
        return self.inner.may_trim

    @property
    def keeps_answer(self) -> bool:
        return True

    def accept(self) -> None:
        """Raise HistoryUnavailable if too many writes wait, before anything is sent."""
        self.writer.ensure_room()
        self.inner.accept()

    async def complete(self, completion: Mapping[str, Any]) -> None:
        """Keep the answer, on its way to the store or in it: after a second the rest happens behind."""
        kept = NewCompletion.of(completion, self.request["messages"], self.request.get("metadata") or {})
        write = partial(self.store.append, self.tenant, kept.id, [kept])
        self.writer.defer(self.tenant, kept.id, write, (kept.id,), len(encode(kept.payload)), is_promised=True)
        await self.inner.complete(completion)
        await self.writer.settled(self.tenant, kept.id, SETTLE_TIMEOUT_S)

    def interrupt(self, completion: Mapping[str, Any]) -> None:
        """Keep nothing here: half an answer is no completion."""
        self.inner.interrupt(completion)


class KeptConversations:
    """Opens turns as `inner` does, and has their answers kept where the request asks for it."""

    def __init__(self, inner: Conversations, store: CompletionStore, writer: HistoryWriter) -> None:
        self._inner = inner
        self._store = store
        self._writer = writer

    async def open(self, call: ChatCall, max_messages: int) -> Turn:
        """Return the turn that `call` begins; HistoryUnavailable at once where it could not be kept."""
        if not call.request.get("store"):
            return await self._inner.open(call, max_messages)
        self._writer.ensure_room()
        check_metadata(call.request.get("metadata") or {})
        turn = await self._inner.open(call, max_messages)
        return KeptTurn(turn, self._store, self._writer, call.tenant, call.request)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise BadRequest for metadata past OpenAI's bounds."""
    if len(metadata) > MAX_METADATA:
        raise BadRequest(f"'metadata' may hold at most {MAX_METADATA} pairs.", "metadata")
    for key, value in metadata.items():
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise BadRequest(
                f"Keys of 'metadata' may have {MAX_KEY} characters and values {MAX_VALUE}.", f"metadata.{key[:MAX_KEY]}"
            )
