"""The groups `history:` and `responses:` of the service file."""

from pydantic import Field

from deployments.config.section import PositiveSeconds, Section


class HistorySettings(Section):
    """The conversation store."""

    pool_size: int = Field(default=10, ge=1, description="Connections to Postgres of one ingress replica, at most.")
    timeout_s: PositiveSeconds = Field(
        default=5.0, description="Seconds that a query, or the wait for a connection, may take."
    )
    max_pending_writes: int = Field(default=10_000, ge=1, description="Writes kept in memory while Postgres is away.")
    max_context_bytes: int = Field(
        default=8_388_608,
        ge=1024,
        description="Bytes of stored messages read as context, newest first; as many as one request can bring.",
    )


class ResponseSettings(Section):
    """The responses that run in the background."""

    max_background: int = Field(
        default=256, ge=0, description="Responses that one ingress replica runs in the background at once."
    )
    max_background_per_key: int = Field(
        default=64, ge=1, description="Responses that one key runs in the background at once, on all replicas together."
    )
    stale_after_s: PositiveSeconds = Field(
        default=15.0, description="Seconds without a sign of life after which another replica takes a response over."
    )
    events_ttl_s: PositiveSeconds = Field(
        default=3600.0, description="Seconds for which the events of a background response can be streamed."
    )
