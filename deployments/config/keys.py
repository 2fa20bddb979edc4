"""The groups `keys:`, `key_limits:` and `usage:` of the service file."""

from pydantic import Field

from deployments.config.section import PositiveSeconds, Section


class KeySettings(Section):
    """The checking of API keys."""

    cache_ttl_s: PositiveSeconds = Field(
        default=5.0, description="Seconds for which a checked key is trusted without a query."
    )
    outage_ttl_s: PositiveSeconds = Field(
        default=600.0, description="Seconds for which known keys stay valid while Postgres cannot be reached."
    )
    max_cached: int = Field(default=10_000, ge=1, description="Keys that one ingress replica remembers.")


class KeyLimitPolicy(Section):
    """The limits of keys that have none of their own; they change in place."""

    concurrent_requests: int | None = Field(
        default=None,
        ge=0,
        description="Answers generated at once of a key without `concurrent_requests` of its own, 0 for no limit; if "
        "not given, half of what the smallest engine runs at once (`max_num_seqs`, or 128).",
    )
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Requests per minute of a key without such a limit of its own; else none."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens per minute of a key without such a limit of its own; else none."
    )
    other_requests_per_minute: int = Field(
        default=3_000,
        ge=1,
        description="Requests per minute of one key that generate nothing (account, models, conversations, usage, …), "
        "on each ingress replica.",
    )
    assumed_answer_tokens: int = Field(
        default=256, ge=0, description="Tokens that an answer without a bound of its own is estimated at."
    )
    storage_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of conversations, responses, stored completions and files that a key without "
        "`storage_bytes` of its own may keep; no limit if not given.",
    )


class KeyLimitSettings(KeyLimitPolicy):
    """The holding of keys' limits."""

    timeout_s: PositiveSeconds = Field(
        default=0.05, description="Seconds after which Redis counts as away: limits then hold per replica."
    )
    lease_s: float = Field(
        default=30.0, ge=1, description="Seconds after which the running requests of a killed replica no longer count."
    )


class UsageSettings(Section):
    """The recording of what each key used."""

    flush_s: PositiveSeconds = Field(default=2.0, description="Seconds between two writes to Postgres.")
    max_pending: int = Field(
        default=50_000, ge=1, description="Sums (of a key, model and day) kept in memory while Postgres is away."
    )
