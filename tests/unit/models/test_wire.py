"""What crosses from a model replica to an ingress replica arrives as it was, however the network cuts it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments import errors
from deployments.errors import ChatLLMError
from deployments.models.protocol import Failed, Frames, Progress, Reply
from deployments.models.wire import (
    HEAD,
    MAX_MESSAGE_BYTES,
    STREAM_BYTES,
    Crossing,
    Destination,
    Leave,
    Part,
    Subscribe,
    decode,
    encode,
)

STREAM = bytes(range(STREAM_BYTES))
ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ChatLLMError)]

messages = st.one_of(
    st.builds(Frames, st.binary(max_size=300)),
    st.builds(Reply, st.binary(max_size=300), st.integers(0, 10**6), st.integers(0, 10**6), st.text(max_size=8)),
    st.builds(Subscribe, st.builds(Destination, st.text(max_size=40), st.integers(0, 65535), st.binary(), st.binary())),
    st.builds(Leave, st.binary(max_size=16)),
    st.builds(Part, st.binary(max_size=300)),
    st.builds(Progress, st.integers(0, 2**63), st.integers(0, 2**63)),
)


def same(one: Crossing, other: Crossing) -> bool:
    if isinstance(one, Failed) and isinstance(other, Failed):
        return type(one.error) is type(other.error) and one.error.args == other.error.args
    return one == other


@given(st.lists(messages, max_size=8), st.integers(1, 50))
def test_any_cut_gives_the_same_messages(sent: list[Crossing], piece: int) -> None:
    whole = b"".join(encode(STREAM, message) for message in sent)
    buffer, arrived = bytearray(), []
    for at in range(0, len(whole), piece):
        buffer += whole[at : at + piece]
        arrived += decode(buffer)
    assert arrived == [(STREAM, message) for message in sent]
    assert not buffer


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_keeps_its_class_and_fields(kind: type[ChatLLMError]) -> None:
    sent = Failed(kind("what went wrong", "field", 2.5))
    [(_, arrived)] = decode(bytearray(encode(STREAM, sent)))
    assert same(arrived, sent)


def test_an_unknown_error_is_an_internal_one() -> None:
    class Elsewhere(ChatLLMError):
        """Known to one side only."""

    [(_, arrived)] = decode(bytearray(encode(STREAM, Failed(Elsewhere("text")))))
    assert isinstance(arrived, Failed)
    assert type(arrived.error) is ChatLLMError


@pytest.mark.parametrize(
    "bytes_",
    [
        HEAD.pack(STREAM_BYTES, STREAM, 0),
        HEAD.pack(MAX_MESSAGE_BYTES + 1, STREAM, 0),
        HEAD.pack(STREAM_BYTES + 1, STREAM, 9),
        HEAD.pack(STREAM_BYTES + 3, STREAM, 1) + b"no",
    ],
    ids=["too short", "too long", "unknown kind", "not msgpack"],
)
def test_what_is_no_message_is_refused(bytes_: bytes) -> None:
    with pytest.raises(ValueError):
        decode(bytearray(bytes_))
