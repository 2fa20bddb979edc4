"""A value that changes while the service runs, and those who go by it."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Current(Generic[Value]):
    """Holds a value for one event loop. Whoever keeps something of its own by it is told of every change."""

    def __init__(self, value: Value) -> None:
        self._value = value
        self._followers: list[Callable[[Value], None]] = []

    @property
    def value(self) -> Value:
        """What holds now."""
        return self._value

    def replace(self, value: Value) -> None:
        """Let another value hold, and tell all followers before this returns; they neither wait nor raise."""
        self._value = value
        for follower in self._followers:
            follower(value)

    def follow(self, follower: Callable[[Value], None]) -> None:
        """Call `follower` with the value now, and again with each that replaces it."""
        self._followers.append(follower)
        follower(self._value)
