"""Fetching the remote media of a chat into its messages, from the hosts that the configuration names.

Over http(s) only, redirects included, never from an address that is not public,
whatever its name resolves to, and within bounds of bytes and time. The address that
was checked is the one that is connected to.
"""

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from deployments.errors import BadRequest
from deployments.models.media import MAX_FETCHED, check_media, checked_url, media_parts, newest_question, url_of

MAX_BYTES = 16 << 20
"""Of one picture, recording or film that is fetched."""
MAX_REDIRECTS = 3
TIMEOUT_S = 10.0
OCTETS = "application/octet-stream"
NOWHERE = "media.invalid"
"""The one host from which vLLM may fetch (RFC 2606: it does not exist)."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")

IsAllowed = Callable[[str], bool]


def is_public(address: str) -> bool:
    """Tell an address of the public internet from private, loopback, link-local, metadata and disguised ones."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found.sixtofour is not None or found.teredo is not None or found in NAT64:
            return False
    return found.is_global and not found.is_multicast


async def inline_media(
    messages: Sequence[Mapping[str, Any]], domains: Collection[str], is_allowed: IsAllowed = is_public
) -> None:
    """Replace the URLs of remote media in `messages` by its content; raises BadRequest if one cannot be fetched.

    Before the user's last message, a file that cannot be fetched becomes a note: it may have existed once.
    """
    check_media(messages, domains)
    newest = newest_question(messages)
    older = [(part, place, True) for part, place in media_parts(messages, stop=newest)]
    parts = [*older, *((part, place, False) for part, place in media_parts(messages, newest))]
    remote = [part for part in parts if _is_remote(part[0])]
    if not remote:
        return
    connector = aiohttp.TCPConnector(resolver=_Resolver(is_allowed), use_dns_cache=False, limit=4)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session:
        for number, (part, place, is_old) in enumerate(reversed(remote)):
            try:
                if number >= MAX_FETCHED:
                    raise _refusal(place)
                fetched = await _fetched(session, url_of(part, place), domains, is_allowed, place)
            except BadRequest:
                if not is_old:
                    raise
                _note_absence(part)
            else:
                part[str(part["type"])] = {**_described(part), "url": fetched}


def _note_absence(part: dict[str, Any]) -> None:
    """Put a note in the place of a file that cannot be fetched any more."""
    kind = str(part["type"]).removesuffix("_url")
    part.clear()
    part |= {"type": "text", "text": f"[{kind}: not available]"}


def _is_remote(part: Mapping[str, Any]) -> bool:
    value = part.get(str(part["type"]))
    url = cast("dict[str, Any]", value).get("url") if isinstance(value, dict) else value
    return not (isinstance(url, str) and url[:5].lower() == "data:")


async def _fetched(
    session: aiohttp.ClientSession, url: str, domains: Collection[str], is_allowed: IsAllowed, place: str
) -> str:
    """Return what stands at a URL as a `data:` URL."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for _ in range(MAX_REDIRECTS + 1):
                _require_allowed(url, domains, is_allowed, place)
                async with session.get(url, allow_redirects=False) as response:
                    if response.status not in (301, 302, 303, 307, 308):
                        return await _content(response, place)
                    url = urljoin(url, response.headers.get("location", ""))
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        raise _refusal(place) from None
    raise BadRequest(f"The URL at '{place}' redirects more than {MAX_REDIRECTS} times.", place)


def _require_allowed(url: str, domains: Collection[str], is_allowed: IsAllowed, place: str) -> None:
    host = str(checked_url(url, domains, place).hostname)
    if _is_address(host) and not is_allowed(host):
        raise _refusal(place)


async def _content(response: aiohttp.ClientResponse, place: str) -> str:
    if response.status != 200:
        raise BadRequest(f"The URL at '{place}' was answered with the status {response.status}.", place)
    content = bytearray()
    async for piece in response.content.iter_chunked(65_536):
        content += piece
        if len(content) > MAX_BYTES:
            raise BadRequest(f"The file at '{place}' is larger than {MAX_BYTES} bytes.", place)
    kind = response.content_type or OCTETS
    return f"data:{kind};base64,{(await asyncio.to_thread(base64.b64encode, content)).decode()}"


class _Resolver(AbstractResolver):
    """Resolves a name to those of its addresses that are allowed: the connection goes to one of these."""

    def __init__(self, is_allowed: IsAllowed) -> None:
        self._is_allowed = is_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        allowed = [
            (kind, protocol, address) for kind, _, protocol, _, address in found if self._is_allowed(str(address[0]))
        ]
        if not allowed:
            raise OSError(f"no allowed address of {host}")
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, protocol, address in allowed
        ]

    async def close(self) -> None: ...


def _described(part: Mapping[str, Any]) -> dict[str, Any]:
    value = part.get(str(part["type"]))
    return dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refusal(place: str) -> BadRequest:
    return BadRequest(f"The URL at '{place}' could not be fetched.", place)
