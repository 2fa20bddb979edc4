"""What crosses from a model replica to an ingress replica arrives as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments import errors
from deployments.errors import ChatLLMError
from deployments.infra.transport.framing import CHANNEL_BYTES, REPLY, TOKEN_FRAMES, Frame
from deployments.infra.transport.server import Address
from deployments.models.delivery.wire import Crossing, Destination, Leave, Part, Subscribe, decode, encode
from deployments.models.protocol import Failed, Frames, Progress, Reply

STREAM = bytes(CHANNEL_BYTES)
ADDRESSES = st.builds(Address, st.text(max_size=40), st.integers(0, 65535), st.binary(), st.binary())
ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ChatLLMError)]

messages = st.one_of(
    st.builds(Frames, st.binary(max_size=300), st.none() | st.binary(max_size=40)),
    st.builds(Reply, st.binary(max_size=300), st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=8)),
    st.builds(Subscribe, st.builds(Destination, ADDRESSES, st.binary())),
    st.builds(Leave, st.binary(max_size=16)),
    st.builds(Part, st.binary(max_size=300)),
    st.builds(Progress, st.integers(0, 2**63), st.integers(0, 2**63)),
)


def same(one: Crossing, other: Crossing) -> bool:
    if isinstance(one, Failed) and isinstance(other, Failed):
        return type(one.error) is type(other.error) and one.error.args == other.error.args
    return one == other


def crossed(message: Crossing) -> Crossing:
    return decode(Frame(STREAM, *encode(message)))


@given(messages)
def test_every_message_arrives_as_it_was(message: Crossing) -> None:
    assert crossed(message) == message


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_keeps_its_class_and_fields(kind: type[ChatLLMError]) -> None:
    sent = Failed(kind("what went wrong", "field", 2.5))
    assert same(crossed(sent), sent)


def test_an_unknown_error_is_an_internal_one() -> None:
    class Elsewhere(ChatLLMError):
        """Known to one side only."""

    arrived = crossed(Failed(Elsewhere("text")))
    assert isinstance(arrived, Failed)
    assert type(arrived.error) is ChatLLMError


@pytest.mark.parametrize(
    "frame",
    [Frame(STREAM, 99, b""), Frame(STREAM, REPLY, b"no"), Frame(STREAM, TOKEN_FRAMES, b"")],
    ids=["unknown", "no msgpack", "too short"],
)
def test_what_is_no_message_is_refused(frame: Frame) -> None:
    with pytest.raises(ValueError):
        decode(frame)
