"""The steps of a load test, one rate after another, as a locust user runs them."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

from loadtests.openloop.arrivals import arrivals
from loadtests.openloop.client import Client
from loadtests.openloop.figures import FULL, UNFINISHED, Step, spread, step_of
from loadtests.openloop.options import Options
from loadtests.openloop.search import Search
from loadtests.openloop.sent import Sent
from loadtests.openloop.workload import PlannedRequest, Session, Workload

PROGRESS_S = 5.0
LEAD_S = 0.2


@dataclass(slots=True)
class Campaign:
    """All steps, and what they measured; `stop` ends it early, with what there is."""

    options: Options
    workload: Workload
    search: Search
    key: str
    steps: list[Step] = field(default_factory=list[Step])
    every: list[Sent] = field(default_factory=list[Sent])
    """The requests of all steps."""
    planned: list[PlannedRequest] = field(default_factory=list[PlannedRequest])
    """What they asked for, kept only to be written to a file."""
    is_stopped: bool = False
    _arriving: "gevent.Greenlet[..., None] | None" = None
    _run: "_Run | None" = None

    def run(self, user: FastHttpUser) -> None:
        """Go through the rates that the search proposes."""
        while not self.is_stopped and (rate := self.search.next()) is not None:
            step = self._step(user, rate)
            if step.requests or not step.was_stopped:
                self.steps.append(step)
                self.search.tell(rate, step.meets_goal, step.is_saturated)
                _say(_summary(step))

    def stop(self) -> None:
        """Send nothing more, and take no other step; a second call does not wait for what is being answered, either."""
        if self.is_stopped and self._run is not None:
            self._run.cut()
        self.is_stopped = True
        if self._arriving is not None:
            self._arriving.kill(block=False)

    def _step(self, user: FastHttpUser, rate: float) -> Step:
        options, run = self.options, _Run(self.options, Client(user, self.key, self._keeps_text()), self.workload)
        began, began_at, cpu_s = time.perf_counter() + LEAD_S, time.time() + LEAD_S, time.process_time()
        session_rate = rate / options.mix.turns
        _say(f"{rate:g} requests/s for {options.step_s:g} s")
        self._run, self._arriving = run, gevent.spawn(run.arrive, began, session_rate)
        progress = gevent.spawn(run.tell_progress, began)
        self._arriving.join()
        ended, cpu_s = time.perf_counter(), time.process_time() - cpu_s
        run.end(options.drain_s)
        progress.kill()
        self.every += run.sent
        self.planned += run.planned if options.requests_file else []
        # Stopped by the user, a step counts until then.
        window = began + options.settle_s, min(began + options.step_s, ended)
        cores = cpu_s / max(1e-9, ended - began)
        times = began_at, time.time()
        return step_of(run.sent, rate, window, times, options.goal, cores, was_stopped=self.is_stopped)

    def _keeps_text(self) -> bool:
        return self.options.mix.turns > 1 and not self.options.mix.is_stored


class _Run:
    """The requests of one step."""

    def __init__(self, options: Options, client: Client, workload: Workload) -> None:
        self._options = options
        self._client = client
        self._workload = workload
        self._pool = Pool(options.most_in_flight)
        self._until = 0.0
        self.sent: list[Sent] = []
        self.planned: list[PlannedRequest] = []
        self._open: dict[int, Sent] = {}
        """Those that are being answered, by `id`."""

    def arrive(self, began: float, rate: float) -> None:
        """Begin each session when it is due, however many are still being answered; returns when the step is over."""
        options = self._options
        self._until = began + options.step_s
        for due_s in arrivals(options.arrivals, rate, options.step_s, options.seed):
            gevent.sleep(max(0.0, began + due_s - time.perf_counter()))
            self._begin(began + due_s)
        gevent.sleep(max(0.0, self._until - time.perf_counter()))

    def _begin(self, due: float) -> None:
        session = self._workload.session()
        if self._pool.full():
            sent = Sent(due, session.model, True, 0)
            sent.sample.failure = FULL
            self.sent.append(sent)
            return
        self._pool.spawn(self._converse, session, due)

    def _converse(self, session: Session, due: float) -> None:
        mix = self._options.mix
        if mix.is_stored:
            session.conversation = self._client.begin_conversation()
        for turn in range(1, mix.turns + 1):
            planned = self._workload.next_request(session)
            sent = Sent(due, planned.model, planned.is_stream, planned.max_tokens, turn)
            self.sent.append(sent)
            self.planned.append(planned)
            self._open[id(sent)] = sent
            self._client.send(planned, sent)
            del self._open[id(sent)]
            if sent.sample.failure or turn == mix.turns:
                return
            session.messages.append({"role": "assistant", "content": sent.text})
            due = time.perf_counter() + self._workload.think_s()
            if due >= self._until:
                return
            gevent.sleep(max(0.0, due - time.perf_counter()))

    def end(self, within_s: float) -> None:
        """Wait that long for what is still being answered; what is not answered then is `UNFINISHED`."""
        self._pool.join(within_s)
        self._pool.kill(timeout=5.0)
        for sent in self._open.values():
            sent.sample.failure = UNFINISHED  # also in mid-answer: nobody but us cut it off

    def cut(self) -> None:
        """Wait for no answer any more."""
        self._pool.kill(block=False)

    def tell_progress(self, began: float) -> None:
        """Say every few seconds how it goes; runs until it is killed."""
        while True:
            gevent.sleep(PROGRESS_S)
            done = [sent for sent in self.sent if sent.sample.total_s and not sent.sample.failure]
            failed = sum(sent.sample.failure not in ("", "cut off") for sent in self.sent)
            ttft, tpot = spread(s.sample.ttft_s for s in done), spread(s.tpot_s for s in done)
            counts = f"{len(self.sent)} sent, {len(done)} answered, {failed} failed, {len(self._pool)} in flight"
            _say(f"  {time.perf_counter() - began:4.0f} s: {counts}; {_times(ttft, tpot)}")


def _summary(step: Step) -> str:
    verdict = "meets the goal" if step.meets_goal else "saturated" if step.is_saturated else "misses the goal"
    failed = f", failed: {', '.join(f'{n} {kind}' for kind, n in step.failures.items())}" if step.failures else ""
    rates = f"{step.delivered_per_s:.2f} answered/s, {step.output_tokens_per_s:,.0f} tokens/s"
    return f"  {step.rate:g}/s {verdict}: {rates}; {_times(step.ttft_ms, step.tpot_ms)}{failed}"


def _times(ttft: dict[str, float], tpot: dict[str, float]) -> str:
    parts = [f"{name} p95 {of['p95']:,.0f} ms" for name, of in (("TTFT", ttft), ("time per token", tpot)) if of]
    return ", ".join(parts) or "no first token yet"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _calling(ended: Callable[[], None]) -> Callable[[object], None]:
    return lambda _: ended()


def locust_user(campaign: Campaign, ended: Callable[[], None]) -> type[FastHttpUser]:
    """Return a class of locust users of which one runs the whole campaign."""

    class OpenLoop(FastHttpUser):
        """Sends what is due; locust counts it as one user."""

        concurrency = campaign.options.most_in_flight
        network_timeout = 3600.0
        connection_timeout = 60.0

        def on_start(self) -> None:
            # In a greenlet of its own: locust's stop button kills the user, but a step is to be counted all the same.
            gevent.spawn(campaign.run, self).link(_calling(ended))

        @task
        def wait(self) -> None:
            """Stay until the runner ends it."""
            gevent.sleep(3600)

    return OpenLoop
