"""What a reply means for a delivery: done, again, or never more. Pure.

Standard Webhooks 1.0.0: only a 2xx is a success, 410 ends the subscription, 429, 502, 503 and 504 ask us to
slow down, and Retry-After (RFC 9110 §10.2.3) counts.
"""

from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from admit.clock import DAY_MS
from admit.outbound.http import Failure, Reply

RETRY_AFTER_MS_MAX = DAY_MS
SLOW_DOWN_MS = 10_000
"""How long an endpoint that asks us to slow down, and does not say for how long, is left alone."""
THROTTLING = frozenset({429, 502, 503, 504})


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt. `outcome` is a word for programs, `detail` a sentence for people.

    `rest_ms`: how long the endpoint wants to be left alone; `retry_after_ms`: the pause that it asked for.
    """

    kind: Literal["delivered", "again", "gone"]
    outcome: str
    detail: str
    status: int | None = None
    rest_ms: int = 0
    retry_after_ms: int = 0


def judge(answer: Reply | Failure, now: int) -> Verdict:
    """What `answer`, which came at `now` (UTC ms), means."""
    if isinstance(answer, Failure):
        return Verdict(kind="again", outcome=answer.kind, detail=answer.detail)
    status = answer.status
    if 200 <= status < 300:
        return Verdict(kind="delivered", outcome="ok", detail=f"It answered {status}.", status=status)
    outcome = f"http_{status}"
    if status == 410:
        sentence = "It answered 410 Gone: it does not want to be told any more."
        return Verdict(kind="gone", outcome=outcome, detail=sentence, status=status)
    if 300 <= status < 400:
        sentence = (
            f"It answered {status}, a redirect, which is not followed. Give the endpoint its new address."
        )
        return Verdict(kind="again", outcome=outcome, detail=sentence, status=status)
    asked_ms = retry_after_ms(answer.headers.get("retry-after", ""), now)
    if status in THROTTLING:
        rest_ms = SLOW_DOWN_MS if asked_ms is None else asked_ms
        sentence = f"It answered {status}: it wants to be left alone for {max(1, rest_ms // 1_000)} s."
        return Verdict(
            kind="again",
            outcome=outcome,
            detail=sentence,
            status=status,
            rest_ms=rest_ms,
            retry_after_ms=asked_ms or 0,
        )
    return Verdict(
        kind="again",
        outcome=outcome,
        detail=f"It answered {status}; only 2xx says that the event was received.",
        status=status,
        retry_after_ms=asked_ms or 0,
    )


def retry_after_ms(text: str, now: int) -> int | None:
    """The pause that a Retry-After asks for, in seconds or until a date; None where it asks for none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]) * 1_000, RETRY_AFTER_MS_MAX)
    try:
        until = round(parsedate_to_datetime(text).timestamp() * 1_000)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0, min(until - now, RETRY_AFTER_MS_MAX))
