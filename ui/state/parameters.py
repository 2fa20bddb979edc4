"""The model, system prompt, and parameters of a conversation, stored in its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_SYSTEM_CHARS = 4_000
PIECE_CHARS = 500  # a value of the metadata holds 512 characters, so that a system prompt takes several
MAX_ANSWER_TOKENS = 131_072
TEMPERATURE, TOP_P = (0.0, 2.0), (0.0, 1.0)
"""Minimum and maximum."""
NO_SYSTEM = "You are a helpful assistant."
"""Replaces an earlier system prompt, which cannot be removed from the conversation."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Request parameters; None and "" leave the choice to the service."""

    model: str = ""
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Parameters":
        """Read a conversation's metadata and ignore invalid values."""
        pieces = (metadata.get(f"system_{at}", "") for at in range(MAX_SYSTEM_CHARS // PIECE_CHARS))
        tokens = number(metadata.get("max_tokens"), 1, MAX_ANSWER_TOKENS)
        return cls(
            metadata.get("model", ""),
            "".join(pieces),
            number(metadata.get("temperature"), *TEMPERATURE),
            number(metadata.get("top_p"), *TOP_P),
            None if tokens is None else int(tokens),
        )

    @property
    def fields(self) -> dict[str, float]:
        """The parameters that are set, by their names in the API."""
        named = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return {name: value for name, value in named.items() if value is not None}

    def within(self, metadata: Mapping[str, str]) -> dict[str, str]:
        """Return a conversation's metadata with these parameters in place of its own."""
        others = {name: value for name, value in metadata.items() if not _is_ours(name)}
        cut = range(0, min(len(self.system), MAX_SYSTEM_CHARS), PIECE_CHARS)
        system = {f"system_{at // PIECE_CHARS}": self.system[at : at + PIECE_CHARS] for at in cut}
        numbers = {name: f"{value:g}" if name != "max_tokens" else str(value) for name, value in self.fields.items()}
        return others | ({"model": self.model} if self.model else {}) | system | numbers


def _is_ours(name: str) -> bool:
    return name in ("model", "temperature", "top_p", "max_tokens") or name.startswith("system_")


def number(text: str | None, least: float, most: float) -> float | None:
    """Return `text` as a number if it is within the bounds."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if least <= value <= most else None
