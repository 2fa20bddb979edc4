"""What Postgres, Redis and the cache do."""

from collections.abc import Sequence

from panels.panel import OF_MODEL, RATE, Panel, Row

STORES: Sequence[Row] = [
    (
        "Postgres",
        [
            Panel(
                "Postgres answers",
                "Ingress replicas that reach it (1 is all of them).",
                [('avg(ray_chatllm_store_up{store="postgres"})', "reached")],
                "percentunit",
            ),
            Panel(
                "Round trip",
                "To Postgres and back, the slowest and the mean of the ingress replicas.",
                [("max(ray_chatllm_postgres_seconds)", "slowest"), ("avg(ray_chatllm_postgres_seconds)", "mean")],
                "s",
            ),
            Panel(
                "Conversations waiting for Postgres",
                "Writes in memory, over all ingress replicas; it grows while Postgres is away.",
                [("sum(ray_chatllm_history_pending)", "pending")],
            ),
        ],
    ),
    (
        "Batches",
        [
            Panel(
                "Requests of batches",
                "Being answered now, over all ingress replicas.",
                [("sum(ray_chatllm_batch_lines_running)", "running")],
            ),
            Panel(
                "Answered requests of batches",
                "Per second by outcome; retried later are those that met a limit or a full queue.",
                [(f"sum by (outcome) (rate(ray_chatllm_batch_lines_total{RATE}))", "{{outcome}}")],
                "reqps",
                is_stacked=True,
            ),
        ],
    ),
    (
        "Redis",
        [
            Panel(
                "Redis answers",
                "Ingress replicas that reach it (1 is all of them).",
                [('avg(ray_chatllm_store_up{store="redis"})', "reached")],
                "percentunit",
            ),
            Panel(
                "Why the cache did not answer",
                "Requests per second by reason; redis_… tells how Redis failed.",
                [(f"sum by (reason) (rate(ray_chatllm_cache_reasons_total{OF_MODEL}{RATE}))", "{{reason}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Answers that were not stored",
                "Answers per second by the reason; what is lost is a later hit.",
                [(f"sum by (reason) (rate(ray_chatllm_cache_drops_total{RATE}))", "{{reason}}")],
                "reqps",
                is_stacked=True,
            ),
        ],
    ),
    (
        "Disks",
        [
            Panel(
                "Free space",
                "By node. Postgres stops when its disk is full.",
                [("ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage)", "{{ip}}")],
                "percentunit",
            ),
            Panel("Written", "By node.", [("ray_node_disk_io_write_speed", "{{ip}}")], "Bps"),
            Panel("Read", "By node.", [("ray_node_disk_io_read_speed", "{{ip}}")], "Bps"),
        ],
    ),
]
