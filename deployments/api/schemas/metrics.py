"""The answer of `GET /v1/admin/metrics`."""

from typing import Literal

import msgspec

from deployments.api.schemas.model_list import LoadPhase


class Quantiles(msgspec.Struct):
    """How long it took, in seconds, to within an eighth; null where nothing was counted."""

    count: int
    p50_s: float | None
    p95_s: float | None


class QueueMetrics(msgspec.Struct):
    """The requests that wait in front of a model's engines, and how long the oldest has.

    `tokens` are what they are expected to cost, those of answers counted twice.
    """

    requests: int
    tokens: int
    oldest_s: float


class Figures(msgspec.Struct, kw_only=True):
    """Requests that ended and what they used.

    `requests` are by status (499 is a client that left), `cache` by result (HIT, JOIN, MISS, BYPASS).
    `output_tokens` were generated, `reused_tokens` came from the cache or from a generation that was
    shared; both count when the request ends. `ttft` is the time to the first token of streams, without
    those from the cache, `duration` that of whole requests.
    """

    requests: dict[str, int]
    cache: dict[str, int]
    prompt_tokens: int
    output_tokens: int
    reused_tokens: int
    ttft: Quantiles
    duration: Quantiles


class MetricsPoint(Figures, kw_only=True):
    """The figures of one step, which began at `start` (Unix seconds) and of which `seconds` are over.

    `in_flight` is the most requests that ran at once, `replicas` the most replicas that each model had; empty
    for periods without data. `queued` is how many requests waited for a model at most, of those in whose queue
    any did.
    """

    start: float
    seconds: float
    in_flight: int
    replicas: dict[str, int]
    queued: dict[str, int]


class ModelMetrics(msgspec.Struct):
    """A model now, and its figures over the whole time.

    `queues` has what waits in front of its engines, by priority (interactive, batch), 3 s old at most.

    Of the requests that its engines hold, `waiting` have no token yet and `running` have; null where
    its replicas do not tell in time, and for an adapter, whose requests are among those of its model. `reason` is
    why it has not loaded, `phase`, `percent`, `expected_s` and `remaining_s` are how far it is, as in `/ready`.
    """

    id: str
    status: str
    elapsed_s: float
    replicas: int
    running: int | None
    waiting: int | None
    total: Figures
    reason: str
    phase: LoadPhase | None
    percent: int | None
    expected_s: float | None
    remaining_s: float | None
    queues: dict[str, QueueMetrics]


class ReplicaMetrics(msgspec.Struct):
    """An ingress replica; one that has not been seen for 15 s is gone, but what it counted is in the figures."""

    id: str
    started_at: float
    seen_s_ago: float
    is_there: bool
    in_flight: int


class RecentError(msgspec.Struct):
    """A request that ended in an error, at a time in Unix seconds; `model` is "" where none was found."""

    at: float
    status: int
    code: str
    model: str
    request_id: str
    key_id: str


class ScalingDecision(msgspec.Struct):
    """A change of the number of replicas that a model shall have, at a time in Unix seconds, and why."""

    at: float
    model: str
    before: int
    after: int
    cause: str
    reason: str


class ModelStart(msgspec.Struct):
    """A successful start of a model's replica: when it began (Unix seconds), and how long it and its phases took.

    `scheduling` and `joining` are missing where no ingress replica saw them.
    """

    at: float
    model: str
    took_s: float
    phases: dict[str, float]


class ClusterNode(msgspec.Struct):
    """A node of the Ray cluster and what it offers; `lost_because` is why it is gone, "" where it is not."""

    id: str
    name: str
    address: str
    is_head: bool
    is_alive: bool
    cpus: float
    gpus: float
    memory_bytes: int
    lost_because: str


class AdminMetrics(msgspec.Struct):
    """The figures of all ingress replicas, added up, from `start` to `end` (Unix seconds) in steps of `step_s`.

    `replicas_seen` ingress replicas are there. With `is_partial` some figures are missing, and
    `partial_because` says why: while Redis is away, they are those of the replica that answers.
    """

    object: Literal["metrics"]
    start: float
    end: float
    step_s: int
    replicas_seen: int
    is_partial: bool
    partial_because: str | None
    points: list[MetricsPoint]
    total: Figures
    models: list[ModelMetrics]
    replicas: list[ReplicaMetrics]
    errors: list[RecentError]
    decisions: list[ScalingDecision]
    starts: list[ModelStart]
    nodes: list[ClusterNode]
