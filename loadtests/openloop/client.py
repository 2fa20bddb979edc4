"""One request, sent by locust's HTTP client and timed from when it was due."""

import json
import time
from typing import Any

from locust import FastHttpUser
from locust.contrib.fasthttp import ResponseContextManager

from loadtests.openloop.sent import Sent
from loadtests.openloop.workload import PlannedRequest
from loadtests.streams import hops_in, note

CHAT = "/v1/chat/completions"
CONVERSATIONS = "/v1/conversations"
EVENT_END = b"\n\n"


class Client:
    """Sends requests on behalf of a locust user, whose statistics they enter."""

    def __init__(self, user: FastHttpUser, key: str, keeps_text: bool) -> None:
        self._user = user
        self._headers = {
            "Content-Type": "application/json",
            "X-Server-Timing": "trailer",
            "Accept-Encoding": "identity",
            "Connection": "close",  # each is of another user, and none fails on a connection gone idle
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._keeps_text = keeps_text

    def begin_conversation(self) -> str:
        """Return the id of a new stored conversation, or "" if the service made none."""
        with self._user.client.request(
            "POST", CONVERSATIONS, json={}, headers=self._headers, catch_response=True
        ) as response:
            if response.status_code not in (200, 201):
                response.failure(f"status {response.status_code}")
                return ""
            return str(json.loads(response.text or "{}").get("id", ""))

    def send(self, planned: PlannedRequest, sent: Sent) -> None:
        """Send it and wait for the whole answer; a failure is told in `sent.sample`, never raised.

        What is killed meanwhile stays `UNFINISHED`.
        """
        sent.sent = time.perf_counter()
        with self._user.client.request(
            "POST", CHAT, json=planned.body, name=planned.model, headers=self._headers, stream=True, catch_response=True
        ) as response:
            try:
                self._read(response, sent)
            except (OSError, ValueError, LookupError, AttributeError) as error:
                sent.sample.failure = type(error).__name__
            self._report(response, sent)

    def _read(self, response: ResponseContextManager, sent: Sent) -> None:
        if response.status_code == 0:
            error: Any = getattr(response, "error", None)
            sent.sample.failure = type(error).__name__ if error else "no answer"
        elif response.status_code != 200:
            sent.sample.failure = f"status {response.status_code}"
            _ = response.content  # so that the connection can be used again
        elif sent.is_stream:
            self._read_stream(response, sent)
        else:
            self._read_whole(response, sent)

    def _read_stream(self, response: ResponseContextManager, sent: Sent) -> None:
        stream: Any = response.stream
        while event := stream.readline(EVENT_END):
            now_s = time.perf_counter() - sent.due
            delta = note(event.removeprefix(b"data:").strip(), sent.sample, now_s)
            if self._keeps_text:
                sent.text += delta.get("content") or ""

    def _read_whole(self, response: ResponseContextManager, sent: Sent) -> None:
        answer: dict[str, Any] = json.loads(response.content or b"")
        sample = sent.sample
        sample.total_s = time.perf_counter() - sent.due
        usage = answer["usage"]
        sample.tokens, sample.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        headers: Any = response.headers or {}
        sample.hops_ms = hops_in(headers.get("server-timing") or "")
        sent.text = answer["choices"][0]["message"].get("content") or "" if self._keeps_text else ""
        sample.failure = ""

    def _report(self, response: ResponseContextManager, sent: Sent) -> None:
        """Enter it into locust's statistics, its latency from when it was due."""
        sample = sent.sample
        response.request_meta["response_time"] = (time.perf_counter() - sent.due) * 1e3
        if sample.failure:
            response.failure(sample.failure)
            return
        response.success()
        for name, value_s in (("TTFT", sample.ttft_s), ("TPOT", sent.tpot_s)):
            if value_s is not None:
                self._user.environment.events.request.fire(
                    request_type=name, name=sent.model, response_time=value_s * 1e3, response_length=0, exception=None,
                    context={},
                )  # fmt: skip
