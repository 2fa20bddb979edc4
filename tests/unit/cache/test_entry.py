import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from deployments.cache.entry import DONE, CacheEntry, decode, encode

FRAME = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
USAGE = b'data: {"id":"chatcmpl-1","choices":[],"usage":{"total_tokens":3}}\n\n'
BODY = b'{"id":"chatcmpl-1","created":5,"choices":[]}'


@given(st.binary(min_size=1), st.binary(), st.floats(0, 2e9))
def test_what_is_stored_comes_back(body, frames, created_at):
    entry = CacheEntry(body, frames, created_at)
    assert decode(encode(entry)) == entry


def test_frames_that_resemble_each_other_take_little_room():
    assert len(encode(CacheEntry(BODY, FRAME * 128, 1.0))) < 300


@given(st.binary())
def test_garbage_is_a_miss(data):
    assert decode(data) is None


@pytest.mark.parametrize("cut", [0, 1, 2, 10, -1])
def test_a_torn_entry_is_a_miss(cut):
    assert decode(encode(CacheEntry(BODY, FRAME, 1.0))[:cut]) is None


@given(st.data())
def test_a_flipped_bit_is_a_miss(data):
    whole = bytearray(encode(CacheEntry(BODY, FRAME * 3, 1.0)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    assert decode(bytes(whole)) in (None, CacheEntry(BODY, FRAME * 3, 1.0))


@pytest.mark.parametrize(
    "packed",
    [
        msgspec.msgpack.encode({"body": 1}),
        msgspec.msgpack.encode([b"", b"", 1.0, b""]),
        msgspec.msgpack.encode(["text", 2, 1.0, b""]),
        b"\xc1",
    ],
)
def test_another_form_is_a_miss(packed):
    assert decode(b"\x01" + zstandard.compress(packed)) is None


def test_a_value_that_would_unfold_without_end_is_a_miss():
    assert decode(b"\x01" + zstandard.compress(bytes(65 * 1024 * 1024))) is None


def test_another_version_is_a_miss():
    assert decode(b"\x02" + encode(CacheEntry(BODY, FRAME, 1.0))[1:]) is None


@pytest.mark.parametrize("done", [b"", DONE])
@pytest.mark.parametrize("frames", [b"", FRAME, FRAME * 2])
def test_the_usage_event_is_kept_apart(frames, done):
    entry = CacheEntry(BODY, frames + USAGE + done, 1.0)
    assert (entry.frames, entry.usage) == (frames, USAGE)
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize("text", ['"usage"', '"choices":[],"usage":{}'])
def test_an_answer_that_speaks_of_usage_is_no_usage_event(text):
    frames = b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": text}}], "usage": None}) + b"\n\n"
    entry = CacheEntry(BODY, FRAME + frames, 1.0)
    assert (entry.frames, entry.usage) == (FRAME + frames, b"")
