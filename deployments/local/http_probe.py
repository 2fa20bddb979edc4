"""Whether a server of ours answers, asked in the plainest way.

python3 -m deployments.local.http_probe URL     exits with status 0 if it answers 200, else 1
"""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 2.0
PAGE_ANSWERS = (200, 303, 403)
"""What the chat page says to a stranger: come in, sign in first, or open it with a link first."""


def status_of(url: str, timeout_s: float = TIMEOUT_S) -> int | None:
    """Return the HTTP status of a GET, or None if nothing answers in time."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(status_of(sys.argv[1]) != 200)
