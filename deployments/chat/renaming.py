"""The id under which a subscriber gets an answer that another request began."""

from dataclasses import replace

import msgspec

from deployments.models.protocol import Reply


class _Head(msgspec.Struct):
    id: str = ""


class Renaming:
    """Puts one id in place of an answer's own.

    Inside a JSON string a quote is escaped, so that no text of the model can look like the field.
    """

    def __init__(self, reply_id: str) -> None:
        self._new = _field(reply_id)
        self._old = b""

    def frames(self, data: bytes) -> bytes:
        """Return complete events under the new id."""
        self._old = self._old or _field(_id_of(data[: data.find(b"\n\n")].removeprefix(b"data: ")))
        return data.replace(self._old, self._new)

    def reply(self, reply: Reply) -> Reply:
        """Return a whole answer under the new id."""
        self._old = self._old or _field(_id_of(reply.body))
        return replace(reply, body=reply.body.replace(self._old, self._new, 1))


def _field(answer_id: str) -> bytes:
    return b'"id":%b,' % msgspec.json.encode(answer_id)


def _id_of(answer: bytes) -> str:
    return msgspec.json.decode(answer, type=_Head).id
