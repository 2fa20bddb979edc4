"""The tree of errors, each with its HTTP status and OpenAI error code.

    ChatLLMError                     500  internal_error
    ├── BadRequest                   400  invalid_request
    │   ├── InvalidJSON              400  invalid_json
    │   └── ContextTooLong           400  context_length_exceeded
    ├── Unauthenticated              401  invalid_api_key
    │   └── SignInFailed             401  sign_in_failed
    ├── Forbidden                    403  permission_denied
    │   ├── PasswordChangeRequired   403  password_change_required
    │   └── StorageFull              403  storage_full
    ├── NotFound                     404  not_found
    │   └── ModelNotFound            404  model_not_found
    ├── MethodNotAllowed             405  method_not_allowed
    ├── SlowSender                   408  request_timeout
    ├── Conflict                     409  conflict
    │   └── LastingConflict          409  conflict
    ├── PreconditionFailed           412  precondition_failed
    ├── BodyTooLarge                 413  body_too_large
    ├── UnsupportedEncoding          415  unsupported_encoding
    ├── UnsupportedMediaType         415  unsupported_content_type
    ├── TooManyRequests              429  rate_limit_exceeded
    │   ├── ExceedsLimits            429  rate_limit_exceeded
    │   └── InsufficientQuota        429  insufficient_quota
    ├── ProviderBusy                 429  provider_busy
    ├── HeadersTooLarge              431  headers_too_large
    ├── NotOffered                   501  not_implemented
    ├── ProviderFailed               502  provider_failed
    │   └── ProviderRefused          502  provider_refused
    ├── NotCached                    504  not_cached
    ├── DiskFull                     507  disk_full
    └── Unavailable                  503  unavailable
        ├── ModelLoading             503  model_loading
        ├── ModelFailed              503  model_failed
        ├── Overloaded               503  overloaded
        ├── HistoryUnavailable       503  history_unavailable
        └── Timeout                  504  timeout

Every error crosses process boundaries by pickle, so that a constructor takes
positional arguments with defaults only; a test proves it for each subclass.
"""

from typing import Any, ClassVar


class ChatLLMError(Exception):
    """The server failed to process the request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    kind: ClassVar[str] = "server_error"
    may_succeed_later: ClassVar[bool] = True
    """Whether the same request can succeed at another time; if not, clients are told not to try it again."""

    def __init__(self, message: str = "", param: str | None = None, retry_after_s: float | None = None) -> None:
        """Keep `message` (default: the class's docstring), the request field at fault and a wait in seconds."""
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.param = param
        self.retry_after_s = retry_after_s
        super().__init__(self.message, param, retry_after_s)

    def __str__(self) -> str:
        return self.message

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error in OpenAI's shape, with the request's id beside its four fields."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
                "request_id": request_id,
            }
        }


class BadRequest(ChatLLMError):
    """The request is not valid."""

    status = 400
    code = "invalid_request"
    kind = "invalid_request_error"


class InvalidJSON(BadRequest):
    """The request's body is not valid JSON."""

    code = "invalid_json"


class ContextTooLong(BadRequest):
    """The prompt is longer than the model's context window."""

    code = "context_length_exceeded"


class Unauthenticated(ChatLLMError):
    """Incorrect API key provided: send it as 'Authorization: Bearer <key>', 'api-key: <key>' or 'x-api-key: <key>'."""

    status = 401
    code = "invalid_api_key"
    kind = "authentication_error"


class SignInFailed(Unauthenticated):
    """The username or the password is wrong."""

    code = "sign_in_failed"


class Forbidden(ChatLLMError):
    """This API key is not allowed to do this."""

    status = 403
    code = "permission_denied"
    kind = "permission_error"


class PasswordChangeRequired(Forbidden):
    """This password must be changed: sign in with 'new_password' as well."""

    code = "password_change_required"


class StorageFull(Forbidden):
    """This key has reached its storage limit."""

    code = "storage_full"
    kind = "insufficient_quota"


class NotFound(ChatLLMError):
    """The resource does not exist."""

    status = 404
    code = "not_found"
    kind = "invalid_request_error"


class ModelNotFound(NotFound):
    """The model does not exist."""

    code = "model_not_found"


class MethodNotAllowed(ChatLLMError):
    """The resource does not support this method."""

    status = 405
    code = "method_not_allowed"
    kind = "invalid_request_error"


class SlowSender(ChatLLMError):
    """The request's body did not arrive in time."""

    status = 408
    code = "request_timeout"
    kind = "invalid_request_error"


class Conflict(ChatLLMError):
    """The request conflicts with what is stored."""

    status = 409
    code = "conflict"
    kind = "invalid_request_error"


class LastingConflict(Conflict):
    """The request conflicts with what is stored, and waiting will not change that."""

    may_succeed_later = False


class PreconditionFailed(ChatLLMError):
    """What the request would change has changed since: read it again."""

    status = 412
    code = "precondition_failed"
    kind = "invalid_request_error"
    may_succeed_later = False


class BodyTooLarge(ChatLLMError):
    """The request's body is larger than this server accepts."""

    status = 413
    code = "body_too_large"
    kind = "invalid_request_error"


class UnsupportedEncoding(ChatLLMError):
    """Compressed bodies are not accepted."""

    status = 415
    code = "unsupported_encoding"
    kind = "invalid_request_error"


class UnsupportedMediaType(ChatLLMError):
    """Bodies are JSON: send 'Content-Type: application/json'."""

    status = 415
    code = "unsupported_content_type"
    kind = "invalid_request_error"


class TooManyRequests(ChatLLMError):
    """This key has reached its limit."""

    status = 429
    code = "rate_limit_exceeded"
    kind = "rate_limit_error"


class ExceedsLimits(TooManyRequests):
    """The request is larger than this key's limits ever allow."""

    # A 429 as OpenAI has it for this case ("Request too large for …"), and not a 400: nothing is wrong with
    # the request, and another key may send it.
    may_succeed_later = False


class InsufficientQuota(TooManyRequests):
    """This key has used up its budget for the month."""

    code = "insufficient_quota"
    kind = "insufficient_quota"


class ProviderBusy(ChatLLMError):
    """The model's provider has reached its rate limit."""

    # Not a TooManyRequests: no limit of the caller's key was met. The status is the one that clients wait for.
    status = 429
    code = "provider_busy"


class HeadersTooLarge(ChatLLMError):
    """The request's headers are larger than this server accepts."""

    status = 431
    code = "headers_too_large"
    kind = "invalid_request_error"


class NotOffered(ChatLLMError):
    """This server does not support this."""

    status = 501
    code = "not_implemented"
    kind = "invalid_request_error"
    may_succeed_later = False


class ProviderFailed(ChatLLMError):
    """The model's provider failed to answer."""

    status = 502
    code = "provider_failed"


class ProviderRefused(ProviderFailed):
    """The model's provider refused this service's request; the reason is in the replica's log."""

    code = "provider_refused"
    may_succeed_later = False


class NotCached(ChatLLMError):
    """The request asked for a cached answer only, and there is none."""

    status = 504
    code = "not_cached"
    kind = "invalid_request_error"
    may_succeed_later = False


class DiskFull(ChatLLMError):
    """There is no room left where this server keeps files; its operator has to make some."""

    status = 507
    code = "disk_full"
    may_succeed_later = False


class Unavailable(ChatLLMError):
    """The service cannot answer right now."""

    status = 503
    code = "unavailable"


class ModelLoading(Unavailable):
    """The model is still loading."""

    code = "model_loading"


class ModelFailed(Unavailable):
    """The model failed to load; the reason is in the replica's log and in Ray's dashboard."""

    code = "model_failed"
    may_succeed_later = False


class Overloaded(Unavailable):
    """All replicas of the model are busy and the queue is full."""

    code = "overloaded"


class HistoryUnavailable(Unavailable):
    """The conversation store cannot be reached right now."""

    code = "history_unavailable"


class Timeout(Unavailable):
    """The model did not answer in time."""

    status = 504
    code = "timeout"
