"""What goes wrong with a store, under names of our own."""

from collections.abc import Generator
from contextlib import contextmanager

from redis import exceptions as lower


class StoreError(Exception):
    """The store did not do what it was asked; `kind` is a word for the counters."""

    def __init__(self, kind: str = "server") -> None:
        self.kind = kind
        super().__init__(kind)


# The first that fits decides, so that the special stand before the general.
KINDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError, lower.TimeoutError), "timeout"),
    ((lower.AuthenticationError, lower.AuthorizationError, lower.NoPermissionError), "auth"),
    ((lower.AuthenticationWrongNumberOfArgsError, lower.ExternalAuthProviderError), "auth"),
    ((lower.BusyLoadingError,), "loading"),
    ((lower.OutOfMemoryError,), "full"),
    ((lower.ReadOnlyError,), "read_only"),
    ((lower.MaxConnectionsError,), "pool"),
    ((lower.ClusterError, lower.RedisClusterException, lower.AskError, lower.TryAgainError), "cluster"),
    ((lower.ClusterCrossSlotError,), "cluster"),
    ((lower.ConnectionError, OSError), "connection"),
    ((lower.InvalidResponse, lower.DataError, ValueError), "garbage"),
    ((lower.ResponseError,), "server"),
    ((lower.RedisError, lower.ChildDeadlockedError), "client"),
)
FOREIGN = tuple(error for errors, _ in KINDS for error in errors)


@contextmanager
def translated() -> Generator[None]:
    """The border to redis-py: its errors leave as `StoreError`, without the keys and addresses of their texts."""
    try:
        yield
    except FOREIGN as error:
        kind = next(kind for errors, kind in KINDS if isinstance(error, errors))
        raise StoreError(kind) from error
    except AttributeError as error:
        # When redis-py's client of a cluster sees the nodes anew, it closes connections that others just send on.
        if error.name != "writelines":
            raise
        raise StoreError("connection") from error
