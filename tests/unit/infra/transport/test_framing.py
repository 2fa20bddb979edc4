"""Frames arrive as they were, however the network cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.infra.transport.framing import CHANNEL_BYTES, HEAD, Frame, decode, encode

CHANNEL = bytes(range(CHANNEL_BYTES))
frames = st.builds(
    Frame, st.binary(min_size=CHANNEL_BYTES, max_size=CHANNEL_BYTES), st.integers(0, 255), st.binary(max_size=300)
)


@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_any_cut_gives_the_same_frames(sent: list[Frame], piece: int) -> None:
    whole = b"".join(encode(*frame) for frame in sent)
    buffer, arrived = bytearray(), []
    for at in range(0, len(whole), piece):
        buffer += whole[at : at + piece]
        arrived += decode(buffer)
    assert arrived == sent
    assert not buffer


@pytest.mark.parametrize("length", [0, CHANNEL_BYTES, 1001])
def test_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError):
        decode(bytearray(HEAD.pack(length, CHANNEL, 0)), 1000)
