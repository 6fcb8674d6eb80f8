"""What can go wrong with a request, each with its HTTP status.

    raise BadRequest("texts: give at least one")

The body of such an answer is ``{"error": {"code", "message", "request_id"}}``.
"""

from __future__ import annotations


class ServiceError(Exception):
    """An answer that is not 200.

    Attributes:
        status: HTTP status.
        code: one word for programs.
        message: one line for people.
        retry_after: seconds after which the same request may go well, or None.
        close: whether the connection ends with the answer, since what follows on it is not worth reading.
    """

    status, code, retry_after, close = 500, "internal", None, False

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after


class BadRequest(ServiceError):
    """The request says something that cannot be done."""

    status, code = 400, "bad_request"


class Unauthorized(ServiceError):
    """The bearer token is missing or is another."""

    status, code, close = 401, "unauthorized", True


class Forbidden(ServiceError):
    """The request is sent to another name, or by a page of another site."""

    status, code, close = 403, "forbidden", True


class UnsupportedType(ServiceError):
    """The body is not JSON by its Content-Type."""

    status, code, close = 415, "unsupported_media_type", True


class NotFound(ServiceError):
    """There is nothing at this path."""

    status, code = 404, "not_found"


class MethodNotAllowed(ServiceError):
    """The path exists, for another method; ``allowed`` names those it is for."""

    status, code = 405, "method_not_allowed"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class SlowRequest(ServiceError):
    """The body did not come in time."""

    status, code, close = 408, "request_timeout", True


class TooLarge(ServiceError):
    """More bytes, texts, characters or rows than the server takes in one request."""

    status, code = 413, "too_large"


class BodyTooLarge(TooLarge):
    """A body over the limit: the rest of it is not read."""

    close = True


class Overloaded(ServiceError):
    """There is more to do than the queue holds."""

    status, code, retry_after = 503, "overloaded", 1


class WorkerLost(ServiceError):
    """The process that had the request is gone, and so is the one that had it next."""

    status, code, retry_after = 503, "retry", 1


class DeadlineExceeded(ServiceError):
    """The answer would come too late."""

    status, code = 504, "deadline_exceeded"
