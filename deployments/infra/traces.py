"""Where an unexpected error came from, for the log, without what it says: such messages quote prompts and keys."""

import traceback

MAX_LINKS = 10


def trace(error: BaseException) -> str:
    """Return the frames of `error` and of what caused it, each with its type and no message."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < MAX_LINKS:
        frames = "".join(traceback.format_tb(link.__traceback__))
        parts.append(f"{frames}{type(link).__module__}.{type(link).__qualname__}")
        if isinstance(link, BaseExceptionGroup):
            parts += [trace(one) for one in link.exceptions[:MAX_LINKS]]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\ncaused by\n".join(parts)
