"""What the autoscaler sees, decides and brings about."""

from collections.abc import Sequence

from panels.panel import OF_DEPLOYMENT, OF_MODEL, OF_SCALED, RATE, Panel, Row

AUTOSCALING: Sequence[Row] = [
    (
        "Replicas",
        [
            Panel(
                "Target, running, starting",
                "What the autoscaler wants, what answers, and what is missing.",
                [
                    (f"chatllm:replicas:target{OF_DEPLOYMENT}", "{{deployment}} target"),
                    (f"chatllm:replicas:running{OF_DEPLOYMENT}", "{{deployment}} running"),
                    (
                        f"clamp_min(chatllm:replicas:target{OF_DEPLOYMENT} - (chatllm:replicas:running{OF_DEPLOYMENT} "
                        f"or 0 * chatllm:replicas:target{OF_DEPLOYMENT}), 0)",
                        "{{deployment}} starting",
                    ),
                ],
                width=16,
            ),
            Panel(
                "How long starts take",
                "Mean seconds from a replica's creation until it answers, of those that started within an hour.",
                [
                    (
                        f"sum by (deployment) (increase(ray_serve_replica_startup_latency_ms_sum{OF_DEPLOYMENT}[1h])) "
                        "/ 1000 / sum by (deployment) "
                        f"(increase(ray_serve_replica_startup_latency_ms_count{OF_DEPLOYMENT}[1h]))",
                        "{{deployment}}",
                    )
                ],
                "s",
            ),
        ],
    ),
    (
        "Load",
        [
            Panel(
                "Waiting and running",
                "Held: their model has no replica. In the queue: the engines are full. "
                "Queued: in Serve, where a replica takes no more. Waiting: in the engines.",
                [
                    ("sum(ray_chatllm_held_requests)", "held"),
                    ("sum(ray_chatllm_queue_requests)", "in the queue"),
                    ('sum(ray_serve_deployment_queued_queries{deployment=~"model-.*"})', "queued"),
                    ("sum(ray_vllm_num_requests_waiting)", "waiting"),
                    ("sum(ray_vllm_num_requests_running)", "running"),
                ],
                is_stacked=True,
            ),
            Panel(
                "Held requests",
                "By model, while it has no replica.",
                [(f"sum by (model) (ray_chatllm_held_requests{OF_MODEL})", "{{model}}")],
            ),
            Panel(
                "KV cache",
                "The fullest and the mean engine; vLLM preempts requests when it is full.",
                [
                    ("max(ray_vllm_kv_cache_usage_perc)", "fullest"),
                    ("avg(ray_vllm_kv_cache_usage_perc)", "mean"),
                ],
                "percentunit",
            ),
            Panel(
                "Requests per replica",
                "Requests that a replica works on, the mean over the replicas.",
                [(f"avg by (deployment) (ray_serve_replica_processing_queries{OF_DEPLOYMENT})", "{{deployment}}")],
            ),
            Panel(
                "What the autoscaler sees",
                "All requests of a deployment that scales, and how many replicas its policy asks for before bounds.",
                [
                    (f"max by (deployment) (ray_serve_autoscaling_total_requests{OF_DEPLOYMENT})", "{{deployment}}"),
                    (
                        f"max by (deployment) (ray_serve_autoscaling_desired_replicas{OF_DEPLOYMENT})",
                        "{{deployment}} desired",
                    ),
                ],
            ),
            Panel(
                "Decisions",
                "Changes of the number of replicas by the scaling policy, with their cause; and what the load fills.",
                [
                    (
                        f"sum by (direction, cause) (increase(ray_chatllm_scaling_decisions_total{OF_SCALED}[5m]))",
                        "{{direction}}: {{cause}}",
                    ),
                    (f"max by (model) (ray_chatllm_scaling_demand_replicas{OF_SCALED})", "{{model}} demand"),
                ],
            ),
            Panel(
                "Changes of the target",
                "Within 30 minutes; six or more are flapping.",
                [(f"changes(chatllm:replicas:target{OF_DEPLOYMENT}[30m])", "{{deployment}}")],
            ),
        ],
    ),
    (
        "Queue",
        [
            Panel(
                "Requests in the queue",
                "In front of a model's full engines, by model and priority, over all ingress replicas.",
                [
                    (
                        f"sum by (model, priority) (ray_chatllm_queue_requests{OF_MODEL})",
                        "{{model}} {{priority}}",
                    )
                ],
                is_stacked=True,
            ),
            Panel(
                "Tokens in the queue",
                "What the waiting requests are expected to cost; tokens of answers count twice.",
                [(f"sum by (model, priority) (ray_chatllm_queue_tokens{OF_MODEL})", "{{model}} {{priority}}")],
                is_stacked=True,
            ),
            Panel(
                "Longest wait",
                "Of those in the queue now.",
                [(f"max by (model, priority) (ray_chatllm_queue_oldest_seconds{OF_MODEL})", "{{model}} {{priority}}")],
                "s",
            ),
            Panel(
                "Refused by the queue",
                "Requests per second. key_full, full: too many of the key wait, or of all. deadline: the client would "
                "have left before its turn. max_wait: it has waited as long as it may.",
                [
                    (
                        f"sum by (model, reason) (rate(ray_chatllm_queue_refusals_total{OF_MODEL}{RATE}))",
                        "{{model}}: {{reason}}",
                    )
                ],
                "reqps",
                is_stacked=True,
            ),
        ],
    ),
    (
        "Nodes",
        [
            Panel(
                "Resources",
                "What the deployments have reserved, of what there is.",
                [
                    (
                        'sum by (Name) (ray_resources{State="USED",Name=~"CPU|GPU"}) '
                        '/ sum by (Name) (ray_resources{Name=~"CPU|GPU"})',
                        "{{Name}}",
                    )
                ],
                "percentunit",
            ),
            Panel(
                "Processors",
                "By node, of all its cores.",
                [("ray_node_cpu_utilization / 100", "{{ip}}")],
                "percentunit",
            ),
            Panel("Memory", "By node.", [("ray_node_mem_used / ray_node_mem_total", "{{ip}}")], "percentunit"),
        ],
    ),
]
