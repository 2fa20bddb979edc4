"""A message of the reader: words, and the files and images that came along, all in the one text that is stored."""

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
        """The whole as one text; `pieces` takes it apart again."""
        return with_images(self.readable, self.images)

    @property
    def readable(self) -> str:
        """What of it can be read."""
        return with_files(self.text, self.files)


def pieces(message: str) -> Composed:
    """Take a message apart."""
    readable, images = without_images(message)
    text, files = without_files(readable)
    return Composed(text, files, images)
