"""What is kept of a request until its stream has ended, so that another replica can go on with the stream.

It lies in Redis beside the log, and goes with it. A request that cannot be repeated letter by letter is not kept:
several answers at once, whose events alternate by chance, and one that is larger than a log may be; nor is one to a
provider, who would be paid twice.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from deployments.cache.steering import CacheControl
from deployments.chat.call import ChatCall


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """A chat call, whose it is, and what it holds of its key's limits (`Admission.record`)."""

    call: ChatCall
    key_id: str
    admission: Mapping[str, Any]
    may_be_repeated: bool = True
    """Whether its model may be asked again; not where each time is paid for."""

    def encoded(self, max_bytes: int) -> bytes:
        """Return it as it is kept; empty where it is not."""
        call = self.call
        if not self.may_be_repeated or not _can_be_repeated(call.request):
            return b""
        document = {
            "id": call.id,
            "tenant": call.tenant,
            "endpoint": call.endpoint,
            "cache_control": asdict(call.cache_control),
            "request": call.request,
            "key_id": self.key_id,
            "admission": self.admission,
        }
        encoded = orjson.dumps(document)
        return encoded if len(encoded) <= max_bytes else b""

    @classmethod
    def decoded(cls, data: bytes) -> "KeptRequest":
        """Return what was kept."""
        document = orjson.loads(data)
        call = ChatCall(
            document["id"],
            document["tenant"],
            document["request"],
            document["endpoint"],
            CacheControl(**document["cache_control"]),
            is_repeated=True,
        )
        return cls(call, document["key_id"], document["admission"])


def _can_be_repeated(request: Mapping[str, Any]) -> bool:
    prompt = request.get("prompt")
    is_one = not isinstance(prompt, list) or len(prompt) == 1 or isinstance(prompt[0], int)
    return is_one and request.get("n") in (None, 1)
