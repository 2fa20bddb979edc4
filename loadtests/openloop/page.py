"""A load test as one HTML file that needs nothing else: figures, charts, tables."""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from loadtests.openloop.charts import Chart, Line, figure, short
from loadtests.openloop.compared import compared, overhead_ms, warnings
from loadtests.openloop.timeline import over_time

Document = dict[str, Any]
STYLE = Path(__file__).with_name("page.css")
RATE = "requests per second asked for"
PERCENTILES = (("p50", "c0"), ("p95", "c1"), ("p99", "c2"))


def page(report: Document, before: Document | None) -> str:
    """Return the whole page; with an earlier report its lines are drawn dashed and its figures compared."""
    title = f"Load test {report['name']}".strip()
    body = [
        f"<h1>{escape(title)}</h1><p class=dim>{escape(report['at'])} · {escape(', '.join(report['models']))} at "
        f"{escape(report['url'])}</p>",
        _facts(report),
        _notes(report),
        _section("Rate against latency and throughput", "".join(map(figure, _by_rate(report, before))), ""),
        _steps(report),
        _differences(report, before),
        _section("Where the time goes", "".join(map(figure, _hops(report))), _hop_table(report)),
        _section("Meanwhile", "".join(map(figure, over_time(report["watched"], report["steps"]))), ""),
        _errors(report),
        _details(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _facts(report: Document) -> str:
    steps, best = report["steps"], report["highest_rate_per_s"]
    at_best = next((step for step in steps if step["rate"] == best and step["meets_goal"]), None)
    facts = [(f"{best:g}/s" if best else "none", "highest rate that meets the goal")]
    if at_best:
        facts += [
            (f"{at_best['ttft_ms'].get('p95', 0):,.0f} ms", "TTFT p95 at that rate"),
            (f"{at_best['tpot_ms'].get('p95', 0):,.1f} ms", "time per token p95 at that rate"),
        ]
    if steps:
        failed = sum(sum(step["failures"].values()) for step in steps)
        facts.append((short(max(step["output_tokens_per_s"] for step in steps)), "output tokens per second at most"))
        facts.append((f"{failed:,}", "failed requests"))
    cells = (f"<div><b>{escape(value)}</b><small>{escape(name)}</small></div>" for value, name in facts)
    return f"<div class=facts>{''.join(cells)}</div>"


def _notes(report: Document) -> str:
    ttft_s, tpot_ms = report["goal"]["ttft_p95_s"], report["goal"]["tpot_p95_s"] * 1e3
    goal = f"Goal: TTFT p95 up to {ttft_s:g} s, time per output token p95 up to {tpot_ms:g} ms."
    warned = "".join(f"<p>{escape(warning)}</p>" for warning in warnings(report))
    notes = f"<div class=notes>{warned}</div>" if warned else ""
    return f"<p>{goal} Latency counts from when a request was due.</p>{notes}"


def _by_rate(report: Document, before: Document | None) -> Iterator[Chart]:
    goal = report["goal"]
    for title, figures, most in (
        ("Time to first token", "ttft_ms", goal["ttft_p95_s"] * 1e3),
        ("Time per output token", "tpot_ms", goal["tpot_p95_s"] * 1e3),
        ("End to end", "e2e_ms", None),
    ):
        lines = [Line(q, _line(report, figures, q), style) for q, style in PERCENTILES]
        lines += [Line("p95 before", _line(before, figures, "p95"), "c1 dashed")] if before else []
        yield Chart(title, "ms", RATE, lines, is_log=True, is_log_across=True, goal=most)
    throughput = [Line("output", _line(report, "output_tokens_per_s"), "c0")]
    throughput += [Line("per replica", _line(report, "tokens_per_s_per_replica"), "c3")]
    throughput += [Line("per GPU", _line(report, "tokens_per_s_per_gpu"), "c2")]
    throughput += [Line("output before", _line(before, "output_tokens_per_s"), "c0 dashed")] if before else []
    yield Chart("Tokens per second", "", RATE, throughput, is_log_across=True)
    served = [
        Line("answered", _line(report, "delivered_per_s"), "c0"),
        Line("in time (goodput)", _line(report, "goodput_per_s"), "c3"),
    ]
    served += [Line("goodput before", _line(before, "goodput_per_s"), "c3 dashed")] if before else []
    served += [Line("asked for", [(rate, rate) for rate in _rates(report)], "c5 dashed")]
    yield Chart("Requests per second", "", RATE, served, is_log=True, is_log_across=True)
    yield Chart(
        "Requests in flight",
        "mean",
        RATE,
        [Line("in flight", _line(report, "in_flight_mean"), "c0")],
        is_log_across=True,
    )


def _rates(report: Document) -> list[float]:
    return sorted({step["rate"] for step in report["steps"]})


def _line(report: Document | None, name: str, quantile: str = "") -> list[tuple[float, float]]:
    found: dict[float, float] = {}
    for step in (report or {}).get("steps", []):
        value = step.get(name)
        value = value.get(quantile) if quantile and value else value
        if value:
            found[step["rate"]] = value
    return sorted(found.items())


def _steps(report: Document) -> str:
    rates, times = (
        ("answers/s", "goodput/s", "tokens/s"),
        ("TTFT p50", "p95", "p99", "TPOT p50", "p95", "E2E p50", "p95"),
    )
    heads = ("rate/s", "", *rates, *times, "requests", "failed", "generator late p99")
    rows: list[Sequence[str]] = []
    for step in report["steps"]:
        verdict = "ok" if step["meets_goal"] else "bad"
        word = "meets goal" if step["meets_goal"] else "saturated" if step["is_saturated"] else "misses goal"
        ttft, tpot, e2e = (step[name] for name in ("ttft_ms", "tpot_ms", "e2e_ms"))
        rows.append(
            [
                f"{step['rate']:g}",
                f"<span class={verdict}>{word}{' (stopped)' if step['was_stopped'] else ''}</span>",
                *(f"{step[name]:,.2f}" for name in ("delivered_per_s", "goodput_per_s")),
                f"{step['output_tokens_per_s']:,.0f}",
                *(_ms(ttft, q) for q in ("p50", "p95", "p99")),
                *(_ms(of, q) for of in (tpot, e2e) for q in ("p50", "p95")),
                f"{step['requests']:,}",
                f"{sum(step['failures'].values()):,}",
                f"{step['generator_late_ms_p99']:.1f}",
            ]
        )
    return f"<h2>Steps <small>in the order of the run; times in ms</small></h2>{_table(heads, rows)}"


def _ms(spread: Mapping[str, float], quantile: str) -> str:
    return f"{spread[quantile]:,.1f}" if quantile in spread else "–"


def _differences(report: Document, before: Document | None) -> str:
    if not before:
        return ""
    rows = [
        [f"{rate:g}", name, f"{old:,.1f}", f"{new:,.1f}", _change(old, new, is_better)]
        for rate, name, old, new, is_better in compared(report, before)
    ]
    named = escape(f"{before.get('name') or 'earlier report'} of {before['at']}")
    text = _table(("rate/s", "", "before", "now", ""), rows) if rows else "<p>The reports have no rate in common.</p>"
    return f"<h2>Against the {named}</h2>{text}"


def _change(old: float, new: float, is_better: bool) -> str:
    if not old:
        return "–"
    share = new / old - 1
    style = "" if abs(share) < 0.05 else "ok" if (share > 0) == is_better else "bad"
    return f'<span class="{style}">{share * 100:+.1f} %</span>'


def _hops(report: Document) -> Iterator[Chart]:
    added = [(step["rate"], overhead_ms(step["hops_ms"])) for step in _ascending(report) if step["hops_ms"]]
    yield Chart(
        "What the service adds", "ms, median", RATE, [Line("all hops but the model's", added, "c0")], is_log_across=True
    )


def _hop_table(report: Document) -> str:
    steps = [step for step in _ascending(report) if step["hops_ms"]]
    names = list(dict.fromkeys(name for step in steps for name in step["hops_ms"]))
    rows = [[f"{step['rate']:g}", *(f"{step['hops_ms'].get(name, 0):,.2f}" for name in names)] for step in steps]
    return (
        f"<p class=dim>Median of each hop of Server-Timing, in ms.</p>{_table(('rate/s', *names), rows)}"
        if rows
        else ""
    )


def _ascending(report: Document) -> list[Document]:
    return sorted(report["steps"], key=lambda step: step["rate"])


def _errors(report: Document) -> str:
    rows = [
        [f"{step['rate']:g}", escape(kind), f"{count:,}"]
        for step in _ascending(report)
        for kind, count in step["failures"].items()
    ]
    return f"<h2>Errors</h2>{_table(('rate/s', 'kind', 'requests'), rows) if rows else '<p>None.</p>'}"


def _details(report: Document) -> str:
    generator = report["generator"]
    rows = {
        "load": json.dumps(report["load"]),
        "machine of the generator": json.dumps(generator["machine"]),
        "load average before": str(generator["load_average_before"]),
        "versions there": json.dumps(generator["versions"]),
        "commit": generator["commit"],
        "cores of the generator, at most": str(max((step["generator_cores"] for step in report["steps"]), default=0)),
    }
    cells = [[escape(name), escape(value)] for name, value in rows.items()]
    return f"<h2>Of this run</h2><div class=words>{_table(('', ''), cells)}</div>"


def _section(title: str, charts: str, below: str) -> str:
    return f"<h2>{title}</h2><div class=charts>{charts}</div>{below}" if charts or below else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
