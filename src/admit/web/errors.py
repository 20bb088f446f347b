"""What an error looks like outside: one table of statuses, one form of body."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from admit import errors

STATUS: dict[type[errors.AdmitError], int] = {
    errors.InvalidRequest: 400,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Refused: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.CursorExpired: 410,
    errors.TokenOver: 410,
    errors.RateLimited: 429,
    errors.NotBuilt: 501,
    errors.Unavailable: 503,
    errors.AdmitError: 500,
}
"""The one table. An error without its own line has the status of the one above it in `errors.py`."""


CHALLENGES = 'Basic realm="Admit", charset="UTF-8", Bearer'
"""What a door that takes HTTP Basic and tokens asks for. RFC 7617 §2, RFC 6750 §3."""

_PROBLEMS = {errors.InvalidToken.code: ' error="invalid_token"'}


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every refusal: a stable code for programs and a sentence for people."""

    code: str
    message: str


INTERNAL = ErrorBody("internal_error", "Internal error")


class MethodNotAllowed(errors.InvalidRequest):
    """The path exists, the method does not. `allow` lists those that do."""

    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This address answers to {allow}.")
        self.allow = allow


STATUS[MethodNotAllowed] = 405


class LimitReached(errors.RateLimited):
    """A rate limit of the contract was reached. `headers` tell how the caller stands."""

    def __init__(self, message: str, *, retry_after_seconds: int, headers: Mapping[str, str]) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.headers = headers


class TaskFailed(errors.AdmitError):
    """An HTTP task raised, crashed, or answered what is no answer. Its run tells the operator more."""

    code = "task_failed"


class TaskTimeout(errors.AdmitError):
    """An HTTP task took too long, and was ended."""

    code = "task_timeout"


STATUS[TaskTimeout] = 504


class NotAdmitted(errors.Unauthorized):
    """No credential came along, or a wrong one, where HTTP Basic is taken as well as tokens."""


class BodyTooSlow(errors.InvalidRequest):
    """The body did not arrive in time."""

    code = "request_timeout"


STATUS[BodyTooSlow] = 408


def status_of(error: errors.AdmitError) -> int:
    """The status of `error`: its own line of the table or that of the nearest class above it."""
    return next(STATUS[each] for each in type(error).__mro__ if each in STATUS)


def answer_for(error: errors.AdmitError) -> Response:
    """The answer that tells `error`. What has no meaning outside is an "Internal error"; log it before."""
    status = status_of(error)
    hidden = status == 500 and not isinstance(error, TaskFailed)
    body = INTERNAL if hidden else ErrorBody(error.code, error.message)
    return Response(
        msgspec.json.encode(body), status, media_type="application/json", headers=headers_for(error)
    )


def headers_for(error: errors.AdmitError) -> dict[str, str]:
    """The headers that belong to `error`, whatever its body looks like."""
    match error:
        case LimitReached():
            return {"Retry-After": str(error.retry_after_seconds), **error.headers}
        case errors.RateLimited() | errors.Unavailable():
            return {"Retry-After": str(error.retry_after_seconds)}
        case NotAdmitted():  # RFC 9110 §11.6.1
            return {"WWW-Authenticate": CHALLENGES + _PROBLEMS.get(error.code, "")}
        case errors.InvalidToken():  # RFC 6750 §3
            return {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case errors.Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case errors.Forbidden():
            return {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
        case MethodNotAllowed():
            return {"Allow": error.allow}
        case _:
            return {}
