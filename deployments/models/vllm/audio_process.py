"""The process in which one recording is decoded: what a hostile file breaks is this process alone.

    python -I audio_process.py RATE MAX_SECONDS CPU_SECONDS

It reads the file from its standard input and writes a line of JSON, `{"error": CODE}` or `{"samples": N}`, and behind
the latter so many 32-bit floats: the sound of one channel at RATE. Once FFmpeg is loaded it can open no further file
or socket, so that a playlist in place of a recording leads nowhere; its memory and CPU time are bounded. It imports
nothing of this service, which would take longer than most files do.
"""

import contextlib
import io
import json
import resource
import sys
import wave
from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
from av.error import FFmpegError, InvalidDataError

MEMORY_BYTES = 1 << 30
"""What it may allocate beside the sound itself."""
BYTES_PER_SAMPLE = 4
MAX_BAD_PACKETS = 64
SHORTEST_S = 0.1
"""What OpenAI's API takes at least."""

FORMATS = (
    (0, b"RIFF", "wav"),
    (0, b"RF64", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (4, b"ftyp", "mov"),
    (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
)
"""Where a file says what it is, and FFmpeg's name of it: those of OpenAI's API, and no playlists."""


class Refused(Exception):
    """The recording cannot be taken; the text is a code."""


def format_of(data: bytes) -> str:
    """Return FFmpeg's name of a file's format; Refused for any that is not taken."""
    for at, mark, name in FORMATS:
        if data.startswith(mark, at):
            return name
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:  # a frame of MPEG audio
        return "mp3"
    raise Refused("unknown_format")


def decoded(data: bytes, rate: int, max_seconds: float) -> bytes:
    """Return the sound as 32-bit floats; raises Refused."""
    most, found = int(rate * max_seconds), bytearray()
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    for frame in _frames(data):
        for piece in resampler.resample(frame):
            _add(found, piece, most)
    for piece in resampler.resample(None):
        _add(found, piece, most)
    samples = np.frombuffer(found, np.float32)
    if len(samples) < rate * SHORTEST_S:
        raise Refused("too_short" if len(samples) else "no_sound")
    return np.nan_to_num(samples, posinf=1.0, neginf=-1.0).tobytes()


def _frames(data: bytes) -> Iterator[Any]:
    """Yield the frames of the first sound in the file; packets that are damaged are passed over, as players do."""
    bad = 0
    with av.open(io.BytesIO(data), "r", format=format_of(data)) as container:
        if not container.streams.audio:
            raise Refused("no_sound")
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except InvalidDataError:
                bad += 1
                if bad > MAX_BAD_PACKETS:
                    raise


def _add(found: bytearray, piece: Any, most: int) -> None:
    found += bytes(piece.planes[0])[: piece.samples * BYTES_PER_SAMPLE]
    if len(found) > most * BYTES_PER_SAMPLE:
        raise Refused("too_long")


def silence() -> bytes:
    """Return a silent recording."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(4000))
    return file.getvalue()


def confine(sound_bytes: int, cpu_s: int) -> None:
    """Let this process open nothing more, and bound what it uses."""
    for what, limit in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, MEMORY_BYTES + 4 * sound_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        with contextlib.suppress(ValueError, OSError):  # a stricter limit is there already
            resource.setrlimit(what, (limit, limit))


def answer(source: BinaryIO, target: BinaryIO, rate: int, max_seconds: float) -> None:
    """Decode what `source` holds and write the answer."""
    sound, error = b"", ""
    try:
        sound = decoded(source.read(), rate, max_seconds)
    except Refused as refusal:
        error = str(refusal)
    except (FFmpegError, ValueError, OSError, MemoryError, EOFError):
        error = "damaged"
    head = {"error": error} if error else {"samples": len(sound) // BYTES_PER_SAMPLE}
    target.write(json.dumps(head).encode() + b"\n" + sound)
    target.flush()


def main(rate: str, max_seconds: str, cpu_s: str) -> None:
    """Run as the command above says."""
    av.logging.set_level(av.logging.PANIC)
    decoded(silence(), int(rate), 1.0)  # loads what PyAV loads late, which it could no longer do
    confine(int(float(max_seconds) * int(rate)) * BYTES_PER_SAMPLE, int(cpu_s))
    answer(sys.stdin.buffer, sys.stdout.buffer, int(rate), float(max_seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
