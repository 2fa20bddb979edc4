"""Recordings for tests: sounds of a given length, and forms as clients send them."""

import io
import math
import struct
import wave
from pathlib import Path

import av

SENTENCE = Path(__file__).parent / "e2e/sentence.flac"
"""Spoken by espeak-ng: "The quick brown fox jumps over the lazy dog. The capital of France is Paris." """


def tone(seconds: float, rate: int = 8000) -> bytes:
    """Return a WAV file with a tone."""
    file = io.BytesIO()
    count = int(seconds * rate)
    one = [round(8000 * math.sin(2 * math.pi * 440 * at / rate)) for at in range(min(count, rate))]
    samples = struct.pack(f"<{len(one)}h", *one)
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        while count > 0:
            written.writeframes(samples[: 2 * count])
            count -= len(one)
    return file.getvalue()


def repeated(times: int) -> bytes:
    """Return the spoken sentence, which takes 6.1 s, several times in one WAV file."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    with av.open(str(SENTENCE)) as source:
        frames = [piece for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
    sound = b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(sound * times)
    return file.getvalue()
