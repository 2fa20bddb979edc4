"""What a transcription is answered with: OpenAI's events of a stream, and subtitles in place of JSON."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from deployments.models.assembly import payloads, sse

TEXT_TYPE = "text/plain; charset=utf-8"
VTT_HEAD = "WEBVTT\n\n"


async def events(frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the events of OpenAI's API for frames that carry a text as a chat's do, the usage in the last of them."""
    transcript: list[str] = []
    usage: Mapping[str, Any] | None = None
    async with aclosing(frames):
        async for frame in frames:
            chunks = payloads(frame)
            usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), usage)
            texts = [text for chunk in chunks for text in _texts(chunk)]
            if texts and not transcript:
                texts[0] = texts[0].lstrip()  # a Whisper's first word has a blank before it
            transcript += texts
            if texts:
                yield b"".join(sse({"type": "transcript.text.delta", "delta": text}) for text in texts)
    done = {"type": "transcript.text.done", "text": "".join(transcript).strip()}
    yield sse({**done, "usage": _usage(usage)} if usage else done)


def _texts(chunk: Mapping[str, Any]) -> list[str]:
    return [text for choice in chunk.get("choices", ()) if (text := choice["delta"].get("content"))]


def _usage(tokens: Mapping[str, Any]) -> dict[str, Any]:
    audio = (tokens.get("prompt_tokens_details") or {}).get("audio_tokens") or 0
    read, made = tokens["prompt_tokens"], tokens["completion_tokens"]
    return {
        "type": "tokens",
        "input_tokens": read,
        "input_token_details": {"audio_tokens": audio, "text_tokens": read - audio},
        "output_tokens": made,
        "total_tokens": read + made,
    }


def json(answer: Mapping[str, Any]) -> bytes:
    """Return a model's answer without the blank before its first word."""
    return orjson.dumps({**answer, "text": answer["text"].strip()})


def text(answer: Mapping[str, Any]) -> bytes:
    """Return the bare text, with a line's end as OpenAI has it."""
    return (answer["text"].strip() + "\n").encode()


def srt(answer: Mapping[str, Any]) -> bytes:
    """Return the segments as SubRip has them."""
    return "".join(
        f"{number}\n{_clock(one['start'], ',')} --> {_clock(one['end'], ',')}\n{_line(one['text'])}\n\n"
        for number, one in enumerate(_segments(answer), 1)
    ).encode()


def vtt(answer: Mapping[str, Any]) -> bytes:
    """Return the segments as WebVTT has them."""
    return (
        VTT_HEAD
        + "".join(
            f"{_clock(one['start'], '.')} --> {_clock(one['end'], '.')}\n{_line(one['text'])}\n\n"
            for one in _segments(answer)
        )
    ).encode()


def verbose_json(answer: Mapping[str, Any]) -> bytes:
    """Return what a model tells, and the seconds that OpenAI charges for."""
    usage = {"type": "duration", "seconds": int(-(-answer["duration"] // 1))}
    kept = {name: value for name, value in answer.items() if name != "words"}
    return orjson.dumps({**kept, "text": answer["text"].strip(), "usage": usage})


def _segments(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return answer.get("segments") or ()


def _line(transcript: str) -> str:
    """Return a segment's text in one line: a blank one would end it, and an arrow is a time's."""
    return " ".join(transcript.split()).replace("-->", "->")


def _clock(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(max(0.0, seconds) * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{milliseconds:03}"
