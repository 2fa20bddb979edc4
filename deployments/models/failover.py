"""An answer that outlives its replicas: what is known of it here, and how another replica goes on with it.

    replica A   Hel · lo        ✕ lost
                tokens 7, 12
    replica B   asked with the same request and 7, 12: says "Hel", "lo" again at once, and goes on
    reader      Hel · lo · · · · wo · rld

The tokens come with the frames, so that what is known here is never behind what was sent. What the second replica
repeats is compared with that and left out (chat/continuation.py). Tokens, not their text, make the continuation what
the first replica would have said: the text of a prompt and half an answer is often divided into other tokens.
"""

from dataclasses import replace

from deployments.errors import ChatLLMError, Unavailable
from deployments.metrics.failovers import count_failover
from deployments.models.delivery.listener import Stream
from deployments.models.protocol import (
    CANNOT_CONTINUE,
    TOKEN_BYTES,
    Failed,
    Frames,
    Message,
    ModelRequest,
    Progress,
    Put,
    Restarted,
)

MAX_FRUITLESS = 2
"""How many replicas one request may lose in a row without a token in between: it may be what ends them."""
MAX_LOST = 5
"""How many it may lose in all."""

GIVEN_UP = "The model's replicas were lost while they worked on this request."


class ReplicaLost(Exception):
    """The replica that generated is gone, or its connection; the text says so to a client."""

    def __init__(self, message: str, is_handed_over: bool = False) -> None:
        """`is_handed_over`: it stops as it should, and the request has nothing to do with that."""
        self.is_handed_over = is_handed_over
        super().__init__(message)


class Failover:
    """One answer over all replicas that work on it, one after the other; `put` takes what comes of it."""

    def __init__(self, model: str, request: ModelRequest, put: Put, may_repeat: bool) -> None:
        """`may_repeat`: whether another replica may be asked the same; not where each time is paid for."""
        self.request = replace(request, wants_tokens=may_repeat and request.stream)
        self.stream: Stream | None = None
        """By which the answer comes now."""
        self._model = model
        self._put = put
        self._may_repeat = may_repeat
        self._tokens = bytearray(request.resumed)
        self._repeated_bytes = 0
        self._has_sent = False
        self._can_continue = True
        self._made = 0
        self._made_before = 0
        self._lost = 0
        self._fruitless = 0

    def put(self, message: Message | Progress | Restarted) -> None:
        """Take a message of the replica that works on it now; the one that reports its loss is not passed on."""
        if isinstance(message, Frames):
            self._has_sent = True
            if message.tokens is None:
                self._can_continue = False
            elif message.tokens:
                self._note(message.tokens)
        elif isinstance(message, Progress):
            self._made = max(self._made, message.completion_tokens)
        elif isinstance(message, Failed) and self.stream is not None and self.stream.is_lost:
            return
        self._put(message)

    def resume(self, lost: ReplicaLost) -> None:
        """Prepare the request for another replica; raises Unavailable where the answer must end here."""
        try:
            self._require_repeatable(lost)
        except ChatLLMError:
            count_failover(self._model, "given_up")
            raise
        outcome = "continued" if self._tokens else "repeated"
        count_failover(self._model, "handed_over" if lost.is_handed_over else outcome)
        self.request = replace(self.request, resumed=bytes(self._tokens))
        self._repeated_bytes = len(self._tokens)
        self._put(Restarted())

    def _note(self, tokens: bytes) -> None:
        """Keep the tokens that are new: a replica that goes on says those first that it was given."""
        repeated = min(self._repeated_bytes, len(tokens))
        self._repeated_bytes -= repeated
        self._tokens += tokens[repeated:]
        self._made = max(self._made, len(self._tokens) // TOKEN_BYTES)

    def _require_repeatable(self, lost: ReplicaLost) -> None:
        if not self._may_repeat:
            raise Unavailable(str(lost), None, 1.0)
        if self._has_sent and not self._can_continue:
            raise Unavailable(CANNOT_CONTINUE, None, 1.0)
        if lost.is_handed_over:
            return
        self._lost += 1
        self._fruitless = 1 if self._made > self._made_before else self._fruitless + 1
        self._made_before = self._made
        if self._fruitless >= MAX_FRUITLESS or self._lost > MAX_LOST:
            raise Unavailable(GIVEN_UP, None, 30.0)
