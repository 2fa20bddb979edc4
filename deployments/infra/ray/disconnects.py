"""Who notices that a client has left. By default Serve does, with a queue and two tasks more for each request."""

from ray.serve._private.constants import SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER

UNWATCHED = (SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER.encode(), b"?1")
"""A request with this header is not watched by Serve, which runs it in the server's own task."""
