"""What this package raises; nothing heavy is imported for it."""


class HubError(Exception):
    """A download that cannot go on; the message is one sentence that names the remedy."""
