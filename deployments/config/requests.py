"""The groups `timeouts:`, `limits:` and `cors:` of the service file: what holds for every request."""

from typing import Annotated

from pydantic import Field

from deployments.config.section import PositiveSeconds, Section

Origin = Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s,*]+)$")]
"""As browsers send it: a scheme, a host and its port unless it is the scheme's own, without a path."""


class Timeouts(Section):
    """How long a request may wait, in seconds."""

    first_token_s: PositiveSeconds = Field(
        default=120.0, description="From the request's arrival to the first token, less the time that it is held."
    )
    idle_s: PositiveSeconds = Field(default=60.0, description="Between two tokens.")
    total_s: PositiveSeconds = Field(default=900.0, description="For the whole answer.")
    silence_s: PositiveSeconds = Field(
        default=15.0,
        description="Until a stream sends a ping where it has nothing else to send. A stream whose first token takes "
        "longer has begun by then: if it fails, it ends in an error event, and no other model answers in its place.",
    )
    body_s: PositiveSeconds = Field(default=30.0, description="From a request's headers to the end of its body.")
    upload_s: PositiveSeconds = Field(default=120.0, description="The same for a recording that is uploaded.")


class Limits(Section):
    """How large a request may be, and how many may wait."""

    max_body_bytes: int = Field(default=8_388_608, ge=1024, description="Bytes of a request's body.")
    max_audio_bytes: int = Field(
        default=26_214_400, ge=1024, description="Bytes of a recording that is to be transcribed (25 MiB at OpenAI)."
    )
    max_uploads: int = Field(
        default=16, ge=1, description="Recordings that one ingress replica holds at once; more are a 503."
    )
    max_json_values: int = Field(
        default=200_000, ge=100, description="Values (objects, lists, numbers, texts) in a request's JSON."
    )
    max_messages: int = Field(default=2_000, ge=1, description="Messages in one request.")
    max_concurrent_requests: int = Field(default=2_000, ge=1, description="Requests at once in one ingress replica.")


class CorsSettings(Section):
    """Which web pages of other origins may call the API from a browser (https://fetch.spec.whatwg.org/#http-cors-protocol).

    Keys travel in a header and never in cookies, so that no answer allows credentials.
    """

    allow_origins: tuple[Origin, ...] = Field(
        default=(), description='Origins such as `https://app.example.org`, or `"*"` for any; none, if empty.'
    )
    max_age_s: int = Field(
        default=600, ge=0, description="Seconds for which a browser remembers what a preflight request was answered."
    )
