"""Who may call an HTTP task: functions for `authenticate`, which must say True."""

from collections.abc import Callable
from hmac import compare_digest

import msgspec

from admit.task.contexts import RequestContext

Authenticate = Callable[[RequestContext], bool]

_SCHEME = "bearer "


def anybody(context: RequestContext) -> bool:
    """Everybody may."""
    return True


def signed_in(context: RequestContext) -> bool:
    """Who brings a valid access token of the app, as `Authorization: Bearer …`, may. See `context.caller`."""
    return context.caller is not None


class Bearer(msgspec.Struct, frozen=True):
    """Says True to requests that bring the value of a variable, which the task is given for it."""

    name: str

    def __call__(self, context: RequestContext) -> bool:
        expected = context.env.get(self.name, "")
        if not expected:
            context.log.error(f"{self.name} is not set, so nobody may call this task.")
            return False
        brought = context.headers.get("authorization", "")
        if brought[: len(_SCHEME)].lower() != _SCHEME:
            return False
        return compare_digest(brought[len(_SCHEME) :].strip().encode(), expected.encode())


def bearer(name: str) -> Bearer:
    """Who brings the value of the variable `name`, as `Authorization: Bearer …`, may."""
    return Bearer(name)
