"""What a request's headers say to the queue: how long its client waits, whether it comes again, how urgent it is."""

import re
import time
from collections.abc import Mapping

from deployments.errors import BadRequest
from deployments.keys.authenticator import Caller
from deployments.limits.estimate import Weight
from deployments.queueing.job import PRIORITIES, Job

TIMEOUT_HEADER = "x-request-timeout"
SDK_TIMEOUTS = ("x-stainless-timeout", "x-stainless-read-timeout")
"""Seconds of one attempt: the first by OpenAI's SDK for JavaScript, the other by that for Python."""
ATTEMPT_HEADER = "x-stainless-retry-count"
PRIORITY_HEADER = "x-chatllm-priority"
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
WIDEST_WHOLE = 16
"""Places that a request of many texts has at most: they are read one after another."""


def job_of(headers: Mapping[str, str], caller: Caller, weight: Weight) -> Job:
    """Return the request as its model's queue sees it; BadRequest for a header that says nothing.

    A request may be less urgent than its key, and never more.
    """
    urgency = headers.get(PRIORITY_HEADER)
    if urgency not in (None, *PRIORITIES):
        raise BadRequest(f"'{PRIORITY_HEADER}' must be one of {', '.join(PRIORITIES)}.", PRIORITY_HEADER)
    return Job(
        caller.key_id,
        caller.weight,
        "batch" if urgency == "batch" else caller.priority,
        weight.prompt_tokens,
        weight.answer_tokens,
        min(weight.sequences, WIDEST_WHOLE) if weight.is_whole else max(1, weight.sequences),
        _timeout_s(headers),
        time.monotonic(),
        is_first_attempt=headers.get(ATTEMPT_HEADER) == "0",
    )


def _timeout_s(headers: Mapping[str, str]) -> float | None:
    """Return how long the client waits; what an SDK sends of itself is never an error."""
    given = headers.get(TIMEOUT_HEADER)
    if given is not None:
        if not SECONDS.fullmatch(given.strip()):
            raise BadRequest(f"'{TIMEOUT_HEADER}' must be a number of seconds.", TIMEOUT_HEADER)
        return float(given)
    texts = [headers[name] for name in SDK_TIMEOUTS if name in headers]
    return next((float(text) for text in texts if SECONDS.fullmatch(text.strip())), None)
