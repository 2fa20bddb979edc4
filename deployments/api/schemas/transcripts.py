"""What the words of a recording look like; for their description, not for making them."""

from typing import Literal

import msgspec


class TranscriptUsage(msgspec.Struct):
    """What a transcription is charged by: the recording's whole seconds; in a stream, tokens."""

    type: Literal["duration", "tokens"]
    seconds: int | msgspec.UnsetType = msgspec.UNSET
    input_tokens: int | msgspec.UnsetType = msgspec.UNSET
    input_token_details: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    output_tokens: int | msgspec.UnsetType = msgspec.UNSET
    total_tokens: int | msgspec.UnsetType = msgspec.UNSET


class TranscriptSegment(msgspec.Struct):
    """A piece of a recording, in seconds from its beginning."""

    id: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    seek: int
    no_speech_prob: float | None = None


class Transcript(msgspec.Struct):
    """The words of a recording; all but `text` and `usage` belong to `verbose_json`."""

    text: str
    usage: TranscriptUsage | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType = msgspec.UNSET
    duration: float | msgspec.UnsetType = msgspec.UNSET
    segments: list[TranscriptSegment] | msgspec.UnsetType = msgspec.UNSET


class TranscriptEvent(msgspec.Struct):
    """A piece of the words (`delta`), or in the end all of them (`text`)."""

    type: Literal["transcript.text.delta", "transcript.text.done"]
    delta: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    usage: TranscriptUsage | msgspec.UnsetType = msgspec.UNSET
