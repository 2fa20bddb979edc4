"""Open-loop load on a running service, and a report (`make loadtest`): see options.py for what can be asked for."""

from loadtests.openloop.campaign import Campaign, locust_user  # isort: skip  locust replaces the sockets: it comes first

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment

from loadtests.bare_vllm import NotStarted
from loadtests.openloop.document import document, summary, write
from loadtests.openloop.options import Options, options
from loadtests.openloop.search import Search
from loadtests.openloop.service import Service, found
from loadtests.openloop.watch import points, watching
from loadtests.openloop.workload import Workload


def main() -> None:
    """Run the load test; exits with 1 if no rate met the goal, 130 if it was stopped, 2 for wrong options."""
    arguments = options()
    load_before = os.getloadavg()[0]
    try:
        service = found(arguments)
    except NotStarted as error:
        sys.exit(f"error: {error}")
    campaign, watched = _run(arguments, service)
    report = document(arguments, service, campaign, watched, load_before)
    print(summary(report, arguments.against))
    for path in write(report, arguments, campaign.planned):
        print(path)
    sys.exit(130 if campaign.is_stopped else 0 if campaign.search.best else 1)


def _run(arguments: Options, service: Service) -> tuple[Campaign, list[dict[str, Any]]]:
    mark = f"{time.time_ns() % 10**12:x}"
    mix = arguments.mix_for(service.models)
    workload = Workload(mix, arguments.seed, mark, service.tokens_per_word)
    campaign = Campaign(
        arguments, workload, Search(arguments.first_rate, arguments.most_steps, arguments.rates), service.key
    )
    with tempfile.TemporaryDirectory(prefix="chatllm-loadtest-") as folder:
        file = Path(folder) / "watched.jsonl"
        with watching(service.dashboard, service.token, file):
            _locust(arguments, campaign)
        return campaign, points(file)


def _locust(arguments: Options, campaign: Campaign) -> None:
    """Run the campaign as locust's only user until it has ended or was stopped."""
    ended = Event()
    environment = Environment(user_classes=[locust_user(campaign, ended.set)], host=arguments.url, stop_timeout=0)
    runner = environment.create_local_runner()
    page = environment.create_web_ui("127.0.0.1", arguments.web) if arguments.web else None
    if arguments.web:
        print(f"locust's page: http://127.0.0.1:{arguments.web}", file=sys.stderr, flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, campaign.stop)

    def stopped(**_: object) -> None:
        if not ended.is_set():
            campaign.stop()

    environment.events.test_stop.add_listener(stopped)
    runner.start(1, spawn_rate=1)
    ended.wait()
    runner.quit()
    if page is not None:
        page.stop()


if __name__ == "__main__":
    main()
