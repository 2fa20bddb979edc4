"""HAProxy as this service needs it: `WRAPPER` is what Ray Serve should start in its place, on every node."""

import logging
from collections.abc import Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

WRAPPER = Path(__file__).parent / "haproxy"
MARK = b"# Mended for ChatLLM"


def warn_unless_mended(environment: Mapping[str, str]) -> bool:
    """Log a warning where Ray Serve starts HAProxy as it comes; return whether it does not."""
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return True
    try:
        is_mended = MARK in Path(environment.get("RAY_SERVE_HAPROXY_BINARY_PATH", "")).read_bytes()
    except OSError:
        is_mended = False
    if not is_mended:
        logger.warning(
            "RAY_SERVE_HAPROXY_BINARY_PATH is not %s: the model may go on after a client has left, "
            "HAProxy's own errors are HTML, and its statistics are open to the network",
            WRAPPER,
        )
    return is_mended
