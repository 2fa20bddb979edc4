"""What nodes tell of themselves and of each other, and what is found in it. Plain values: they cross processes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer; `remedy` is empty where nothing is wrong."""

    verdict: Verdict
    node: str
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HAProxy:
    """An HAProxy that runs on a node, by its own configuration."""

    is_mended: bool
    bind: str
    """Where the API listens, `host:port`."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node, as it sees itself. No field holds a secret or the address of a store."""

    name: str
    address: str
    versions: Mapping[str, str]
    """Python, Ray, the product and its code, by these names."""
    settings: Mapping[str, str]
    """Those variables of `deployments.infra.ray.variables` that are set."""
    stores: Mapping[str, str]
    """`Postgres` and `Redis`: what is wrong with them, or nothing."""
    token: str = ""
    """What is wrong with the file of Ray's token, or nothing."""
    redis_has_password: bool = True
    head_store: str = ""
    """`kept`, `evicts`, `locked`, or what is wrong with what RAY_REDIS_ADDRESS names; empty where it names nothing.

    It is `locked` where it asks for a password that is not known here.
    """
    haproxy: HAProxy | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """All nodes of a cluster; the keys of the mappings are names of nodes."""

    nodes: Mapping[str, NodeReport]
    head: str = ""
    silent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Nodes that Ray lists and that did not answer, with the reason."""
    lost: tuple[str, ...] = ()
    """Addresses of nodes that Ray has given up."""
    unreached: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """By (from, to): why a connection to a port that the kernel chose failed."""
    clocks: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """How far a clock is ahead of this process's, and how far that may be wrong, both in seconds."""
    exposed: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What strangers may open on a node, in words."""
