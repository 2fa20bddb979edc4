"""What ended within five seconds in one replica, by model; packed when its time has passed."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from deployments.metrics.histogram import step_of

BUCKET_S = 5.0
BUCKETS = 720
"""How many are kept: an hour."""

Name = TypeVar("Name", int, str)


class Counts(msgspec.Struct, array_like=True):
    """Sums over requests that have ended.

    `output_tokens` were generated for these requests, `reused_tokens` came from the cache or
    from a generation that another request had begun. `first_token` and `whole` are histograms
    of seconds, the first without answers from the cache.
    """

    statuses: dict[int, int] = {}
    results: dict[str, int] = {}
    prompt_tokens: int = 0
    output_tokens: int = 0
    reused_tokens: int = 0
    first_token: dict[int, int] = {}
    whole: dict[int, int] = {}

    def count(self, status: int, result: str, took_s: float, first_token_s: float | None) -> None:
        """Count one request; its tokens are apart."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.results[result] = self.results.get(result, 0) + 1
        step = step_of(took_s)
        self.whole[step] = self.whole.get(step, 0) + 1
        if first_token_s is not None and result != "HIT":
            step = step_of(first_token_s)
            self.first_token[step] = self.first_token.get(step, 0) + 1

    def add(self, other: "Counts") -> None:
        """Add the sums of others."""
        _add(self.statuses, other.statuses)
        _add(self.results, other.results)
        _add(self.first_token, other.first_token)
        _add(self.whole, other.whole)
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.reused_tokens += other.reused_tokens


def _add(sums: dict[Name, int], more: Mapping[Name, int]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count


class Bucket(msgspec.Struct, array_like=True):
    """The `number`th five seconds of the replica's clock; `peak` is the most requests that ran at once.

    `replicas` are those of each model, the most there were, `waiting` the most requests in its queue; a replica of the
    version before leaves them out.
    """

    number: int
    peak: int = 0
    models: dict[str, Counts] = {}
    replicas: dict[str, int] = {}
    waiting: dict[str, int] = {}


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder(Bucket).decode
"""Raises msgspec.DecodeError for what is none."""
