"""While a model's replicas are replaced, an answer of another one than was asked for is marked, and not kept."""

from collections.abc import AsyncGenerator

import pytest

from deployments.config import ScriptedModel
from deployments.errors import Unavailable
from deployments.infra.transport.framing import Frame
from deployments.infra.transport.server import Address
from deployments.lora.types import Adapter
from deployments.models.delivery.wire import Destination, decode, encode
from deployments.models.deployment import (
    Scripted,
    _is_of,  # pyright: ignore[reportPrivateUsage]
)
from deployments.models.identity import adapter_identity
from deployments.models.protocol import Frames, Message, ModelRequest, Progress, Reply, packed
from deployments.models.scripted.replica import ScriptedReplica

OWN = {"m": "new", "m:a": "new-a"}


@pytest.mark.parametrize(
    ("asked", "known", "is_of"),
    [("new", OWN, True), ("new-a", OWN, True), ("old", OWN, False), ("", OWN, True), ("old", {}, True)],
)
def test_a_replica_knows_whether_it_is_what_was_asked_for(asked: str, known: dict[str, str], is_of: bool) -> None:
    assert _is_of(ModelRequest("r", b"{}", False, identity=asked), known) is is_of


@pytest.mark.parametrize("base", ["new", "old"])
def test_an_adapter_is_of_its_model(base: str) -> None:
    adapter = Adapter("m", "b", source="x", sha256="1", rank=8, size_bytes=1)
    request = ModelRequest("r", b"{}", False, adapter=adapter, identity=adapter_identity(base, adapter))
    assert _is_of(request, OWN) is (base == "new")


def test_the_mark_crosses_to_the_ingress() -> None:
    reply = Reply(b"{}", 1, 2, "stop", may_be_kept=False)
    assert decode(Frame(b"", *encode(reply))) == reply


async def test_another_version_of_the_model_continues_nothing() -> None:
    replica = Scripted.__new__(Scripted)
    replica._identities = OWN  # type: ignore[misc]
    request = ModelRequest("r", b"{}", True, identity="old", wants_tokens=True, resumed=packed([1]))
    with pytest.raises(Unavailable, match="cannot be continued"):
        await replica.deliver(request, Destination(Address("", 0, b"", b""), b""))


@pytest.mark.parametrize(("identity", "has_tokens"), [("new", True), ("old", False)])
async def test_what_another_version_says_is_continued_by_none(identity: str, has_tokens: bool) -> None:
    """A replica of the version that was asked for would take its tokens for its own, and the answer would be kept."""
    sent = list[Message | Progress]()

    class Kept:
        async def deliver(self, messages: AsyncGenerator[Message | Progress], *_: object) -> None:
            sent.extend([message async for message in messages])

    replica = Scripted.__new__(Scripted)
    ScriptedReplica.__init__(replica, ScriptedModel(id="m", kind="scripted", tokens=3))
    replica._identities, replica._model_id, replica._delivery = OWN, "m", Kept()  # type: ignore[misc,assignment]
    body = b'{"messages":[{"role":"user","content":"one two"}],"stream":true}'
    request = ModelRequest("r", body, True, identity=identity, wants_tokens=True)
    await replica.deliver(request, Destination(Address("", 0, b"", b""), b""))
    frames = [message for message in sent if isinstance(message, Frames)]
    assert frames and {message.tokens is not None for message in frames} == {has_tokens}
