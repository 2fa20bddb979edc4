"""The command line of the load test, checked before anything is asked of the service."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtests.openloop.arrivals import PATTERNS
from loadtests.openloop.figures import Goal
from loadtests.openloop.workload import LONGEST_TOKENS, SHAREGPT, Length, Lengths, Mix

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "artifacts/loadtests"
MOST_PER_S = 10_000.0
REPORT_KIND = "chatllm-loadtest"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    url: str
    models: tuple[str, ...]
    mix: Mix
    arrivals: str
    seed: int
    rates: tuple[float, ...]
    first_rate: float
    most_steps: int
    step_s: float
    settle_s: float
    drain_s: float
    most_in_flight: int
    goal: Goal
    web: int | None
    dashboard: str | None
    results: Path
    name: str
    against: dict[str, Any] | None
    requests_file: Path | None

    def mix_for(self, models: tuple[str, ...]) -> Mix:
        """Return what is to be asked of these models."""
        return replace(self.mix, models=models)


def options(arguments: list[str] | None = None) -> Options:
    """Return the checked options; ends the process with the place and the remedy where one is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.settle >= given.step:
        parser.error(f"argument --settle: {given.settle:g} s leave nothing of a step of {given.step:g} s: raise --step")
    if bool(given.prefixes) != bool(given.prefix_tokens):
        parser.error("argument --prefixes: goes together with --prefix-tokens, e.g. --prefixes 4 --prefix-tokens 1000")
    if given.stored and given.turns == 1:
        parser.error("argument --stored: only sessions of several turns are stored: add e.g. --turns 4")
    models = tuple(given.model.split(",")) if given.model else ()
    mix = Mix(
        models=models,
        lengths=given.lengths,
        prefixes=given.prefixes,
        prefix_tokens=given.prefix_tokens,
        turns=given.turns,
        think_s=given.think,
        is_stored=given.stored,
        plain=given.plain,
        repeated=given.repeated,
    )
    return Options(
        url=given.url.rstrip("/"),
        models=models,
        mix=mix,
        arrivals=given.arrivals,
        seed=given.seed,
        rates=given.rates,
        first_rate=given.first_rate,
        most_steps=given.steps,
        step_s=given.step,
        settle_s=given.settle,
        drain_s=given.drain,
        most_in_flight=given.in_flight,
        goal=Goal(given.goal_ttft, given.goal_tpot),
        web=given.web,
        dashboard=given.dashboard,
        results=given.results,
        name=given.name,
        against=given.against,
        requests_file=given.save_requests,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loadtest", description=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument_group("the service").add_argument
    add("--url", type=_url, default="http://127.0.0.1:8000", help="its address (%(default)s)")
    add("--model", default="", help="models to ask, by turns: A or A,B; by default the service's default model")
    add("--dashboard", type=_url, help="address of Ray's dashboard, for replicas and GPUs; by default that of .chatllm")
    add = parser.add_argument_group("the load").add_argument
    add("--arrivals", choices=sorted(PATTERNS), default="poisson", help="how requests follow each other (%(default)s)")
    add("--lengths", type=_lengths, default=SHAREGPT, metavar="sharegpt|PROMPT/ANSWER", help="tokens (sharegpt)")
    add("--prefixes", type=_count, default=0, help="system prompts that requests share")
    add("--prefix-tokens", type=_count, default=0, help="tokens of each of them")
    add("--turns", type=_positive_count, default=1, help="turns of a session; --rate counts turns (%(default)s)")
    add("--think", type=_positive, default=5.0, help="mean seconds between an answer and the next turn (%(default)s)")
    add("--stored", action="store_true", help="let the service keep the sessions as conversations")
    add("--plain", type=_share, default=0.0, help="share of requests that are not streamed (%(default)s)")
    add(
        "--repeated",
        type=_share,
        default=0.0,
        help="share that repeats one of ten prompts, for the cache (%(default)s)",
    )
    add("--seed", type=int, default=1, help="the same seed makes the same load (%(default)s)")
    add = parser.add_argument_group("the steps").add_argument
    add("--rates", type=_rates, default=(), metavar="R,R,…", help="requests per second, in this order; else searched")
    add("--first-rate", type=_rate, default=1.0, help="where the search begins (%(default)s)")
    add("--steps", type=_positive_count, default=12, help="steps of a search at most (%(default)s)")
    add("--step", type=_positive, default=30.0, help="seconds of a step (%(default)s)")
    add("--settle", type=_seconds, default=5.0, help="seconds at its beginning that do not count (%(default)s)")
    add("--drain", type=_positive, default=60.0, help="seconds to wait for answers after a step (%(default)s)")
    add("--in-flight", type=_positive_count, default=4096, help="requests at once; more count as failed (%(default)s)")
    add = parser.add_argument_group("the goal, which p95 must meet").add_argument
    add("--goal-ttft", type=_positive, default=2.0, help="seconds to the first token (%(default)s)")
    add("--goal-tpot", type=_positive, default=0.1, help="seconds per further token (%(default)s)")
    add = parser.add_argument_group("the report").add_argument
    add("--results", type=Path, default=RESULTS, help="folder for HTML and JSON (artifacts/loadtests)")
    add("--name", type=_name, default="", help="a name for this run, in the report and its file")
    add("--against", type=_report, metavar="FILE.json", help="an earlier report to compare with")
    add(
        "--save-requests",
        type=Path,
        metavar="FILE.jsonl",
        help="also write what was asked, as `vllm bench serve` reads",
    )
    add("--web", type=_port, metavar="PORT", help="also serve locust's page there, on 127.0.0.1")
    return parser


_EXAMPLES = """Open-loop load on a running service, rate after rate, and a report.

  make loadtest                                          # search for the highest rate that meets the goal
  make loadtest ARGS="--rates 2,4,8 --lengths 512/128"   # these rates, with these lengths
  make loadtest ARGS="--turns 4 --prefixes 8 --prefix-tokens 1000 --web 8089"

The key is read from CHATLLM_API_KEY, for a service of this machine else from
api.key in its state folder. Ctrl-C stops the load; the
report then has what was measured until then."""


def _url(text: str) -> str:
    address = urlsplit(text)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as http://127.0.0.1:8000")
    return text


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1e9 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _rate(text: str) -> float:
    value = _number(text, "a number of requests per second, e.g. 2.5")
    if not 0.001 <= value <= MOST_PER_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0.001 and {MOST_PER_S:g} requests per second")
    return value


def _rates(text: str) -> tuple[float, ...]:
    return tuple(_rate(part) for part in text.split(","))


def _seconds(text: str) -> float:
    value = _number(text, "a number of seconds")
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative: give seconds")
    return value


def _positive(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("must be above 0 seconds")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1000000")
    return int(text)


def _positive_count(text: str) -> int:
    if not _count(text):
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _share(text: str) -> float:
    value = _number(text, "a share between 0 and 1")
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1")
    return value


def _lengths(text: str) -> Lengths:
    if text == SHAREGPT.name:
        return SHAREGPT
    prompt, _, answer = text.partition("/")
    if not all(part.isdecimal() and 1 <= int(part) <= LONGEST_TOKENS for part in (prompt, answer)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 'sharegpt' nor PROMPT/ANSWER in tokens up to {LONGEST_TOKENS}, e.g. 512/128"
        )
    return Lengths(text, Length(int(prompt), 0), Length(int(answer), 0))


def _name(text: str) -> str:
    if text and not text.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid name: use letters, digits, '-', '_' and '.'")
    return text


def _port(text: str) -> int:
    if not 1 <= _count(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _report(text: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read: {error.strerror}") from None
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != REPORT_KIND:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no report of `make loadtest`: give the JSON beside an HTML report"
        )
    return document
