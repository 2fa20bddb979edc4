"""What users notice: requests, waiting times, failures."""

from collections.abc import Sequence

from panels.panel import OF_MODEL, RATE, Panel, Row, quantiles, share

EXPERIENCE: Sequence[Row] = [
    (
        "Requests",
        [
            Panel(
                "Requests per second",
                "By HTTP status; 499 is a client that left.",
                [(f"sum by (status) (rate(ray_chatllm_requests_total{OF_MODEL}{RATE}))", "{{status}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Failed requests",
                "Share of requests that ended with a 5xx status, or were refused by a limit (429).",
                [
                    (share(',status=~"5.."', "", "ray_chatllm_requests_total"), "5xx"),
                    (share(',status="429"', "", "ray_chatllm_requests_total"), "429"),
                ],
                "percentunit",
            ),
            Panel(
                "Error budget",
                "How many times faster than allowed (0.1 % of requests) the budget is used up; 1 is just right.",
                [
                    ("chatllm:errors:ratio_rate5m / 0.001", "5 minutes"),
                    ("chatllm:errors:ratio_rate1h / 0.001", "1 hour"),
                    ("chatllm:errors:ratio_rate6h / 0.001", "6 hours"),
                ],
            ),
        ],
    ),
    (
        "Latency",
        [
            Panel(
                "Time to first token",
                "Answers from the cache included.",
                quantiles("ray_chatllm_ttft_seconds"),
                "s",
            ),
            Panel(
                "Slow first tokens",
                "Share of requests whose first token took longer than 2.5 s; the goal is 5 % at most.",
                [(f"chatllm:slow_first_tokens:ratio_rate5m{OF_MODEL}", "{{model}}")],
                "percentunit",
            ),
            Panel("Duration of a request", "To the last byte.", quantiles("ray_chatllm_request_seconds"), "s"),
            Panel(
                "Time to first token by cache",
                "The median of hits and of generated answers.",
                [
                    (
                        "histogram_quantile(0.5, sum by (le, cache) "
                        f"(rate(ray_chatllm_ttft_seconds_bucket{OF_MODEL}{RATE})))",
                        "{{cache}}",
                    )
                ],
                "s",
            ),
            Panel(
                "In flight",
                "Chat requests being answered now, over all ingress replicas.",
                [("sum(ray_chatllm_inflight_requests)", "in flight")],
            ),
            Panel(
                "Answers taken over",
                "By another model replica, where one was lost, by how that ended; none is drawn as none.",
                [(f"sum by (outcome) (increase(ray_chatllm_failovers_total{OF_MODEL}[5m]))", "{{outcome}}")],
            ),
            Panel(
                "Tokens per second",
                "Prompt tokens are those that were sent, whether they were computed or came from the prefix cache.",
                [(f"sum by (kind) (rate(ray_chatllm_tokens_total{OF_MODEL}{RATE}))", "{{kind}}")],
            ),
        ],
    ),
    (
        "Cache and grammars",
        [
            Panel(
                "Cache",
                "Look-ups by result.",
                [(f"sum by (result) (rate(ray_chatllm_cache_total{OF_MODEL}{RATE}))", "{{result}}")],
                "reqps",
                is_stacked=True,
            ),
            Panel(
                "Hit rate",
                "Hits among the requests that may be answered from the cache.",
                [(share(',result="HIT"', ',result=~"HIT|MISS"', "ray_chatllm_cache_total"), "hits")],
                "percentunit",
            ),
            Panel(
                "Grammars",
                "Grammars by outcome of their check, and the CPU cores that the checks take.",
                [
                    (f"sum by (outcome) (rate(ray_chatllm_grammars_total{OF_MODEL}{RATE}))", "{{outcome}}"),
                    (f"sum(rate(ray_chatllm_grammar_cpu_seconds_total{OF_MODEL}{RATE}))", "cores"),
                ],
            ),
        ],
    ),
    (
        "Batches",
        [
            Panel(
                "Open batches",
                "Batches that have not ended, by status.",
                [("max by (status) (ray_chatllm_batches_open)", "{{status}}")],
                is_stacked=True,
            ),
            Panel(
                "Lines without an answer",
                "Requests of all batches that wait, and those that are being answered.",
                [("max by (state) (ray_chatllm_batch_lines_open)", "{{state}}")],
                is_stacked=True,
            ),
            Panel(
                "Lines answered per second",
                "By outcome; a line that is tried again later is `retried`.",
                [(f"sum by (outcome) (rate(ray_chatllm_batch_lines_total{RATE}))", "{{outcome}}")],
            ),
            Panel(
                "Age of the oldest batch",
                "A batch expires after 24 hours.",
                [("max(ray_chatllm_batch_oldest_seconds)", "oldest")],
                "s",
            ),
        ],
    ),
]
