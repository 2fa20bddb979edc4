"""The service's metrics for administrators."""

import asyncio
from datetime import UTC, datetime

from pydantic import BaseModel

from ui.api.client import Api
from ui.ops.batches import OpenBatch, read_batches

PAGE = 100
MAX_PAGES = 10


class Quantiles(BaseModel):
    """Seconds, None where nothing was counted."""

    count: int = 0
    p50_s: float | None = None
    p95_s: float | None = None


class Figures(BaseModel):
    """Totals over completed requests: by status, by cache result, and tokens."""

    requests: dict[str, int] = {}
    cache: dict[str, int] = {}
    prompt_tokens: int = 0
    output_tokens: int = 0
    reused_tokens: int = 0
    ttft: Quantiles = Quantiles()
    duration: Quantiles = Quantiles()

    @property
    def count(self) -> int:
        """All requests."""
        return sum(self.requests.values())

    def ended_as(self, *first_digits: str) -> int:
        """Requests whose status begins so."""
        return sum(count for status, count in self.requests.items() if status.startswith(first_digits))


class Point(Figures):
    """The sums of one step, of which `seconds` are over."""

    start: float
    seconds: float
    in_flight: int = 0
    replicas: dict[str, int] = {}
    queued: dict[str, int] = {}


class Queue(BaseModel):
    """The requests of one priority that wait in front of a model's engines, and how long the oldest has."""

    requests: int = 0
    oldest_s: float = 0.0


class Model(BaseModel):
    """A model now, and its sums."""

    id: str
    status: str
    elapsed_s: float = 0.0
    replicas: int = 0
    running: int | None = None
    waiting: int | None = None
    total: Figures = Figures()
    reason: str = ""
    phase: str | None = None
    percent: int | None = None
    expected_s: float | None = None
    remaining_s: float | None = None
    queues: dict[str, Queue] = {}

    @property
    def queued(self) -> int:
        """How many requests wait in front of its engines."""
        return sum(queue.requests for queue in self.queues.values())

    @property
    def oldest_s(self) -> float:
        """How long the oldest of these has waited (seconds)."""
        return max((queue.oldest_s for queue in self.queues.values()), default=0.0)

    @property
    def all_waiting(self) -> int | None:
        """How many wait, there and in the engines; None where nothing is known of either."""
        return self.waiting if self.waiting is None and not self.queued else (self.waiting or 0) + self.queued


class Replica(BaseModel):
    """An ingress replica, which may be gone."""

    id: str
    started_at: float
    seen_s_ago: float
    is_there: bool
    in_flight: int = 0


class RecentError(BaseModel):
    """A request that ended in an error."""

    at: float
    status: int
    code: str = ""
    model: str = ""
    request_id: str = ""
    key_id: str = ""


class Decision(BaseModel):
    """A change of the number of replicas that a model shall have."""

    at: float
    model: str
    before: int
    after: int
    reason: str = ""


class Start(BaseModel):
    """A successful start of a model's replica, with the seconds of each phase in order."""

    at: float
    model: str
    took_s: float
    phases: dict[str, float] = {}


class Node(BaseModel):
    """A node of the cluster, which may be gone."""

    id: str
    name: str = ""
    address: str = ""
    is_head: bool = False
    is_alive: bool = True
    cpus: float = 0.0
    gpus: float = 0.0
    memory_bytes: int = 0
    lost_because: str = ""


class Metrics(BaseModel):
    """The body of `/v1/admin/metrics`, and the batches that have not ended: None where they cannot be read."""

    start: float
    end: float
    step_s: int
    replicas_seen: int
    is_partial: bool = False
    partial_because: str | None = None
    points: list[Point]
    total: Figures
    models: list[Model] = []
    replicas: list[Replica] = []
    errors: list[RecentError] = []
    decisions: list[Decision] = []
    starts: list[Start] = []
    nodes: list[Node] = []
    batches: list[OpenBatch] | None = None


class Key(BaseModel):
    """An API key, without its secret."""

    id: str
    name: str
    last4: str = ""
    status: str = "valid"
    admin: bool = False


class Used(BaseModel):
    """The usage of a key."""

    key_id: str = ""
    requests: int = 0
    errors: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class KeyUsage(BaseModel):
    """A key with its usage today and this month (UTC)."""

    key: Key
    today: Used = Used()
    month: Used = Used()


class _Keys(BaseModel):
    data: list[Key]
    last_id: str | None = None
    has_more: bool = False


class _Usage(BaseModel):
    data: list[Used]


async def read_metrics(api: Api, window_s: int, step_s: int) -> Metrics:
    """Return the figures of the last `window_s` seconds. Raises `ApiError`."""
    metrics, batches = await asyncio.gather(
        api.read(Metrics, "/v1/admin/metrics", window_s=window_s, step_s=step_s), read_batches(api)
    )
    return metrics.model_copy(update={"batches": batches})


async def read_keys(api: Api) -> list[KeyUsage]:
    """Return the first thousand keys and what they used, those that used most this month first. Raises `ApiError`."""
    keys: list[Key] = []
    page = _Keys(data=[], has_more=True)
    for _ in range(MAX_PAGES):
        if not page.has_more:
            break
        after = {"after": page.last_id} if page.last_id else {}
        page = await api.read(_Keys, "/v1/admin/keys", limit=PAGE, **after)
        keys += page.data
    now = datetime.now(UTC)
    today, month = await _used_since(api, f"{now:%Y-%m-%d}"), await _used_since(api, f"{now:%Y-%m}-01")
    found = [KeyUsage(key=key, today=today.get(key.id, Used()), month=month.get(key.id, Used())) for key in keys]
    return sorted(found, key=lambda each: (-each.month.total_tokens, -each.month.requests))


async def _used_since(api: Api, start: str) -> dict[str, Used]:
    usage = await api.read(_Usage, "/v1/usage", key_id="all", group_by="key", start=start)
    return {used.key_id: used for used in usage.data}
