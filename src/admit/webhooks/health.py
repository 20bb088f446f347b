"""How an endpoint is doing: who fails long enough is told of, and then left alone. Pure."""

from typing import Literal

from admit.clock import DAY_MS

NOTICE_MS = DAY_MS
DISABLE_MS = 5 * DAY_MS

Step = Literal["begin", "notice", "disable"]


def after_failure(failing_since: int | None, noticed_at: int | None, now: int) -> Step | None:
    """What a failure at `now` leads to. `failing_since`: since when there is nothing but failures; None: the
    last attempt was a success. `noticed_at`: when that was told; None: it was not yet. None: nothing."""
    if failing_since is None:
        return "begin"
    if now - failing_since >= DISABLE_MS:
        return "disable"
    if now - failing_since >= NOTICE_MS and noticed_at is None:
        return "notice"
    return None
