"""An adapter that is loaded while the service runs."""

from dataclasses import dataclass

KEY_MARK = "@"
"""Between name and content in a key; no model's or adapter's name has it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter `name` of a model: where it comes from, and what its files hold."""

    model: str
    name: str
    source: str
    """A folder, or a Hugging Face id, as the administrator named it."""
    sha256: str
    """Of its files' contents: two adapters with one name are one only if they have the same weights."""
    rank: int
    size_bytes: int
    loaded_at: int = 0
    """In Unix seconds."""

    @property
    def id(self) -> str:
        """Its name in the API."""
        return f"{self.model}:{self.name}"

    @property
    def key(self) -> str:
        """A name that holds what it is: that of another adapter, or of the same with other weights, is another one."""
        return f"{self.id}{KEY_MARK}{self.sha256[:32]}"
