"""The group `streams:` of the service file."""

from typing import Literal

from pydantic import Field

from deployments.config.section import PositiveSeconds, Section


class StreamSettings(Section):
    """Streams that clients come back to."""

    resumable: Literal["on_request", "always", "never"] = Field(
        default="on_request",
        description="Which chat completions and completions that are streamed can be resumed: those that ask for it "
        "by `x-chatllm-resumable: 1`, all but those with `x-chatllm-resumable: 0` or `no-store`, or none.",
    )
    grace_s: float = Field(
        default=30.0, ge=0.1, le=3600, description="Seconds without any reader after which a stream is stopped."
    )
    ttl_s: PositiveSeconds = Field(
        default=300.0, le=86_400, description="Seconds for which a stream that has ended can be read again."
    )
    max_log_bytes: int = Field(
        default=1_048_576,
        ge=1024,
        description="Bytes of a stream's events, and of its request, that Redis keeps; a larger stream can be resumed "
        "until it ends, and only while the replica that generates it lives.",
    )
    max_logs_per_key: int = Field(
        default=256, ge=1, description="Resumable streams of one key, running or ended; further ones are not resumable."
    )
