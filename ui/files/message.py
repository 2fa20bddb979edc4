"""A user message: text, files, and images, stored together as one text."""

from dataclasses import dataclass, field

from ui.files.images import with_images, without_images
from ui.files.text_files import TextFile, with_files, without_files


@dataclass(frozen=True, slots=True)
class Composed:
    """A message in its pieces; `images` are the addresses that hold them."""

    text: str
    files: list[TextFile] = field(default_factory=list[TextFile])
    images: list[str] = field(default_factory=list[str])

    @property
    def message(self) -> str:
        """The whole message as one text; `pieces` parses it."""
        return with_images(self.readable, self.images)

    @property
    def readable(self) -> str:
        """The readable part."""
        return with_files(self.text, self.files)


def pieces(message: str) -> Composed:
    """Split a message into its parts."""
    readable, images = without_images(message)
    text, files = without_files(readable)
    return Composed(text, files, images)
