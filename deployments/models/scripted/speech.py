"""How a scripted model transcribes a recording: always the same words, a second for each 32,000 bytes."""

from collections.abc import Iterator, Mapping
from typing import Any

BYTES_PER_SECOND = 32_000
AUDIO_TOKENS_PER_SECOND = 100


def heard(request: Mapping[str, Any], file: bytes, words: str) -> dict[str, Any]:
    """Return the answer in vLLM's form: the text, or with `verbose_json` its segments, one for a sentence."""
    seconds = len(file) / BYTES_PER_SECOND
    if request.get("response_format") != "verbose_json":
        return {"text": words, "usage": {"type": "duration", "seconds": int(-(-seconds // 1))}}
    sentences = [f" {sentence.strip()}." for sentence in words.split(".") if sentence.strip()]
    step = seconds / max(1, len(sentences))
    segments = [_segment(at, step, sentence) for at, sentence in enumerate(sentences)]
    return {"text": words, "language": request.get("language") or "en", "duration": seconds, "segments": segments}


def usage_of(file: bytes, words: str) -> dict[str, Any]:
    """Return what hearing it costs."""
    audio = len(file) * AUDIO_TOKENS_PER_SECOND // BYTES_PER_SECOND
    made = len(words.split())
    total = {"prompt_tokens": audio, "completion_tokens": made, "total_tokens": audio + made}
    return {**total, "prompt_tokens_details": {"audio_tokens": audio}}


def heard_chunks(words: str) -> Iterator[dict[str, Any]]:
    """Yield the `choices` entry of each event of a stream: a word, and in the end why it ends."""
    for at, word in enumerate(words.split()):
        yield {"index": 0, "delta": {"content": f" {word}" if at else word}, "finish_reason": None}
    yield {"index": 0, "delta": {}, "finish_reason": "stop"}


def _segment(at: int, step: float, sentence: str) -> dict[str, Any]:
    return {
        "id": at,
        "start": at * step,
        "end": (at + 1) * step,
        "text": sentence,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "seek": 0,
        "no_speech_prob": None,
    }
