"""Recordings become sound in a process of their own, or are refused with the reason."""

import asyncio
import contextlib
import io
import struct
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from deployments.errors import BadRequest, Overloaded
from deployments.models.vllm import audio
from deployments.models.vllm.audio import AudioDecoder
from tests.recordings import SENTENCE, tone

RATE = 16_000


def recoded(kind: str, codec: str, rate: int) -> bytes:
    """Return the spoken sentence in another format."""
    file = io.BytesIO()
    with av.open(str(SENTENCE)) as source, av.open(file, "w", format=kind) as target:
        stream = target.add_stream(codec, rate=rate)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for frame in [*source.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                target.mux(stream.encode(piece))
        target.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("mp3", "libmp3lame", 22_050),
        ("ogg", "libopus", 48_000),
        ("flac", "flac", 16_000),
        ("ipod", "aac", 44_100),
        ("webm", "libopus", 48_000),
        ("mpeg", "mp2", 44_100),
    ],
)
async def test_every_format_becomes_the_same_sound(kind: str, codec: str, rate: int) -> None:
    plain = await AudioDecoder(RATE, 60).decoded(SENTENCE.read_bytes())
    assert 6.0 < len(plain) / RATE < 6.3 and 0.1 < np.abs(plain).max() <= 1.0
    other = await AudioDecoder(RATE, 60).decoded(recoded(kind, codec, rate))
    assert abs(len(other) - len(plain)) < RATE // 10
    assert float(np.sqrt(np.mean(other**2))) == pytest.approx(float(np.sqrt(np.mean(plain**2))), rel=0.1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF", "damaged"),
        (tone(1)[:30], "damaged"),
        (tone(1)[:60], "no sound|shorter"),
        (tone(0.05), "shorter"),
        (b"ID3" + bytes(1000), "damaged"),
        (b"OggS" + b"\xff" * 1000, "damaged"),
        (b"\x1aE\xdf\xa3" + b"\xff" * 1000, "damaged"),
        (b"%PDF-1.7", "no format"),
        (b"\xff\xfb" + b"\x00" * 5000, "damaged|no sound|shorter"),
    ],
)
async def test_what_is_no_recording_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as refused:
        await AudioDecoder(RATE, 60).decoded(data)
    assert refused.value.param == "file"


async def test_a_playlist_leads_nowhere(tmp_path: Path) -> None:
    """FFmpeg would open what a playlist names, be it a file of this machine or an address inside its network."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(tone(2))
    lists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
    )
    for text in lists:
        with pytest.raises(BadRequest, match="no format"):
            await AudioDecoder(RATE, 60).decoded(text.encode())


async def test_more_sound_than_allowed_is_refused_whatever_the_file_claims() -> None:
    decoder = AudioDecoder(RATE, 2)
    assert len(await decoder.decoded(tone(1.9))) == pytest.approx(1.9 * RATE, abs=RATE // 100)
    with pytest.raises(BadRequest, match="longer than 2 s"):
        await decoder.decoded(tone(2.5))
    small = recoded("mp3", "libmp3lame", 22_050)
    with pytest.raises(BadRequest, match="longer than 2 s"):
        await decoder.decoded(small)


async def test_a_declared_length_is_not_believed() -> None:
    file = bytearray(tone(1))
    struct.pack_into("<I", file, 4, 0xFFFFFFF0)
    struct.pack_into("<I", file, 40, 0xFFFFFF00)
    assert len(await AudioDecoder(RATE, 60).decoded(bytes(file))) == pytest.approx(RATE, abs=RATE // 100)
    struct.pack_into("<I", file, 24, 0xFFFFFFFF)  # samples in a second
    with pytest.raises(BadRequest):
        await AudioDecoder(RATE, 60).decoded(bytes(file))


async def test_cancelling_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = "import sys, time; time.sleep(60)"
    monkeypatch.setattr(AudioDecoder, "_arguments", lambda self: ("-c", sleeper))
    task = asyncio.create_task(AudioDecoder(RATE, 60).decoded(tone(1)))
    children: list[psutil.Process] = []
    while not children:
        await asyncio.sleep(0.01)
        children = [one for one in psutil.Process().children() if _is_running(one, sleeper)]
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5 and not children[0].is_running()


def _is_running(process: psutil.Process, argument: str) -> bool:
    with contextlib.suppress(psutil.Error):  # another test's, which has just ended
        return argument in process.cmdline()
    return False


async def test_few_wait_and_the_rest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_WAITING", 0)
    with pytest.raises(Overloaded):
        await AudioDecoder(RATE, 60).decoded(tone(1))
