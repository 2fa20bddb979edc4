"""What a client is told of its key's limits: OpenAI's or Anthropic's headers, and refusals that say why."""

from datetime import UTC, datetime, timedelta

from deployments.errors import ExceedsLimits, InsufficientQuota, TooManyRequests
from deployments.keys.types import KeyLimits
from deployments.limits.estimate import Weight
from deployments.limits.store import Verdict


def headers(limits: KeyLimits, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return `x-ratelimit-*` (OpenAI API reference, "Rate limits in headers") for the limits that there are."""
    return [
        (f"x-ratelimit-{name}-{kind}".encode(), value.encode())
        for kind, limit, remaining, reset_s in _rows(limits, verdict)
        for name, value in (("limit", str(limit)), ("remaining", str(remaining)), ("reset", duration(reset_s)))
    ]


def anthropic_headers(limits: KeyLimits, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return `anthropic-ratelimit-*` (Anthropic API reference, "Rate limits") for the limits that there are."""
    now = datetime.now(UTC)
    return [
        (f"anthropic-ratelimit-{kind}-{name}".encode(), value.encode())
        for kind, limit, remaining, reset_s in _rows(limits, verdict)
        for name, value in (("limit", str(limit)), ("remaining", str(remaining)), ("reset", _moment(now, reset_s)))
    ]


def _rows(limits: KeyLimits, verdict: Verdict) -> list[tuple[str, int, int, float]]:
    """Return of each limit there is: of what, how much, what is left, and in how many seconds it is whole again."""
    found: list[tuple[str, int, int, float]] = []
    if limits.requests_per_minute:
        found.append(("requests", limits.requests_per_minute, verdict.remaining_requests, verdict.reset_requests_s))
    if limits.tokens_per_minute:
        found.append(("tokens", limits.tokens_per_minute, verdict.remaining_tokens, verdict.reset_tokens_s))
    return found


def _moment(now: datetime, in_s: float) -> str:
    """Return a moment as RFC 3339 has it, rounded up to a second."""
    return f"{now + timedelta(seconds=in_s + 0.999999):%Y-%m-%dT%H:%M:%SZ}"


def refusal(limits: KeyLimits, verdict: Verdict, tokens: int) -> TooManyRequests:
    """Return the error for a refused request that was estimated at `tokens`."""
    match verdict.refused_by:
        case "tokens_per_month":
            now = datetime.now(UTC)
            until = next_month(now)
            return InsufficientQuota(
                f"This key's budget of {limits.tokens_per_month} tokens per month has no room for the about {tokens} "
                f"tokens that this request may use. It begins anew on {until:%Y-%m-%d} at 00:00 UTC.",
                None,
                (until - now).total_seconds(),
            )
        case "concurrent_requests":
            return TooManyRequests(
                f"This key's limit of {limits.concurrent_requests} requests at once is reached, "
                "where each answer of a request counts. It allows more as soon as one has ended.",
                None,
                verdict.wait_s,
            )
        case "tokens_per_minute":
            text = f"{limits.tokens_per_minute} tokens per minute is reached: this request may use about {tokens}"
        case _:
            text = f"{limits.requests_per_minute} requests per minute is reached"
    return TooManyRequests(
        f"This key's limit of {text}. Please try again in {duration(verdict.wait_s)}.", None, verdict.wait_s
    )


def other_refusal(limits: KeyLimits, verdict: Verdict) -> TooManyRequests:
    """Return the error for a refused request that would have generated nothing."""
    return TooManyRequests(
        f"This key's limit of {limits.requests_per_minute} requests per minute that generate nothing is reached. "
        f"Please try again in {duration(verdict.wait_s)}.",
        None,
        verdict.wait_s,
    )


def excess(limits: KeyLimits, weight: Weight, tokens: int) -> ExceedsLimits | None:
    """Return the error for a request that could be sent in parts, and that the limits never allow as a whole.

    One that cannot be sent in parts waits for a full bucket instead: its bound is often larger than its answer.
    """
    sequences, at_once, per_minute = weight.sequences, limits.concurrent_requests, limits.tokens_per_minute
    parts = f"{weight.prompts} prompt{'s' if weight.prompts > 1 else ''} × n = {weight.answers}"
    field = "n" if weight.answers > 1 else None
    remedy = f"Send fewer prompts{', or a smaller n,' if field else ''} in one request."
    if at_once and weight.places(at_once) > at_once:
        return ExceedsLimits(
            f"This request asks for {sequences} answers at once ({parts}). This key's limit is {at_once}. {remedy}",
            field,
        )
    if per_minute and sequences > 1 and tokens > per_minute:
        return ExceedsLimits(
            f"This request may use about {tokens} tokens ({parts}, up to {weight.answer_tokens} tokens an answer). "
            f"This key's limit is {per_minute} tokens per minute. {remedy}",
            field,
        )
    return None


def next_month(now: datetime) -> datetime:
    """Return the first moment of the month after `now`."""
    year, month = divmod(now.year * 12 + now.month, 12)
    return datetime(year, month + 1, 1, tzinfo=now.tzinfo)


def duration(seconds: float) -> str:
    """Return a length of time as OpenAI writes it: 20ms, 1s, 1.5s, 6m0s, 1h0m0s; rounded up to a millisecond."""
    ms = max(0, -int(-seconds * 1000 // 1))
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
