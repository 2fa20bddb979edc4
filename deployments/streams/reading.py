"""A resumable stream as one client reads it: from this replica, from the one that generates it, or from the log."""

from collections.abc import AsyncGenerator, Callable
from contextlib import closing

from deployments.chat.generation import Generation, Subscription
from deployments.chat.peers import PeerLost, Peers
from deployments.errors import ChatLLMError
from deployments.streams.running import RunningStream
from deployments.streams.store import StreamName, StreamRecord


def peer_name(name: StreamName) -> str:
    """Return what other replicas call a stream of this one."""
    return f"stream:{name.stream}"


async def of_this_replica(running: RunningStream) -> AsyncGenerator[bytes]:
    """Yield the numbered events of a stream from the first on; PeerLost once it is left to another replica."""
    async for frames in _frames(running.generation.subscribe(), lambda: running.is_left):
        yield frames


async def of_another(peers: Peers, owner: bytes, name: StreamName) -> AsyncGenerator[bytes]:
    """Yield the numbered events of a stream of another replica, from the first on; raises PeerLost at any point."""
    is_lost = False

    async def relay(generation: Generation) -> None:
        nonlocal is_lost
        try:
            await peers.relay(owner, peer_name(name), generation.put)
        except PeerLost:
            is_lost = True

    async for frames in _frames(Generation(relay).subscribe(), lambda: is_lost):
        yield frames


async def of_log(record: StreamRecord) -> AsyncGenerator[bytes]:
    """Yield the numbered events of a stream that has ended; how it failed is the last of them."""
    for frames in record.frames:
        yield frames


async def _frames(subscription: Subscription, is_lost: Callable[[], bool]) -> AsyncGenerator[bytes]:
    with closing(subscription):
        try:
            while (frames := await subscription.next()) is not None:
                yield frames
        except ChatLLMError:
            if is_lost():
                raise PeerLost from None
            raise
