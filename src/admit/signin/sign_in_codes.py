"""Sign-in codes at rest: what a provider has said of a person, kept for the one key that fetches it.

A row is one sign-in by a provider: the code that a browser carries back to its page, or an ID token that is
exchanged. The functions that take a transaction are units of work; `spend` and `complete` serve many callers
at once.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT reads the same on SQLite

from admit.clock import HOUR_MS
from admit.signin.one_time_codes import ANSWER_LOST_MS
from admit.signin.sso import SsoMethod
from admit.signin.tables import sign_in_codes
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Transaction

CODE_LIFE_MS = 60_000
KEPT_MS = HOUR_MS
"""How much longer than it is good a code is known, so that a second use is noticed: longer than a browser
may take to come back from its provider."""

REUSED = "reused"
"""In place of a key's thumbprint: two keys have shown the code, and it is nobody's any more."""

_KEY = tuple_(sign_in_codes.c.app_id, sign_in_codes.c.code_digest)
_PLACE = (sign_in_codes.c.app_id, sign_in_codes.c.code_digest)

ADD_CODE = insert(sign_in_codes).on_conflict_do_nothing()
CODES = Lookup(select(sign_in_codes), _PLACE)
LOOK_AT_CODES = Lookup(
    select(
        *_PLACE,
        sign_in_codes.c.expires_at,
        sign_in_codes.c.spent_by,
        sign_in_codes.c.completed_at,
    ),
    _PLACE,
    lock=True,
)
SPEND_CODE = Change(sign_in_codes, _PLACE, (sign_in_codes.c.spent_by,))
COMPLETE_CODE = Change(
    sign_in_codes,
    (*_PLACE, sign_in_codes.c.spent_by),
    (sign_in_codes.c.completed_at, sign_in_codes.c.session_id),
    only=(sign_in_codes.c.completed_at.is_(None),),
)
MARK_REUSED = (
    update(sign_in_codes)
    .where(
        sign_in_codes.c.app_id == bindparam("app"),
        sign_in_codes.c.code_digest == bindparam("digest"),
        sign_in_codes.c.spent_by != "",
        sign_in_codes.c.spent_by != REUSED,
        sign_in_codes.c.spent_by != bindparam("thumbprint"),
    )
    .values(spent_by=REUSED)
    .returning(sign_in_codes.c.session_id)
)
PRUNE_CODES = delete(sign_in_codes).where(
    _KEY.in_(
        select(*_PLACE)
        .where(sign_in_codes.c.expires_at <= bindparam("before"))
        .order_by(sign_in_codes.c.expires_at)
        .limit(bindparam("most"))
    )
)


class SignInCode(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in by a provider. `sealed`: what it said, see `sso_codes`; "" where an ID token says it again.

    `origin` is of the page that the code was given to, "" where there is none to compare; `network` in which
    it was given, "" where that is unknown; `challenge` the S256 challenge of the client's own PKCE, "" where
    it has none. `spent_by` is the thumbprint of the key that uses it, or REUSED; `session_id` is what came
    of it.
    """

    app_id: str
    code_digest: str
    provider: str
    method: SsoMethod
    sealed: str
    origin: str = ""
    network: str = ""
    challenge: str = ""
    created_at: int
    expires_at: int
    spent_by: str = ""
    completed_at: int | None = None
    session_id: str = ""


class SpendCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code, and the thumbprint of the key that uses it."""

    app_id: str
    code_digest: str
    thumbprint: str
    now: int


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """A code of which a login has come, and the session that was opened or renewed by it."""

    app_id: str
    code_digest: str
    thumbprint: str
    session_id: str
    now: int


def add(tx: Transaction, code: SignInCode) -> None:
    """Keeps a code, unless it is known already: then all stays as it is."""
    tx.execute(ADD_CODE, msgspec.structs.asdict(code))


def find(tx: Transaction, app_id: str, digests: Sequence[str]) -> SignInCode | None:
    """The code under any of `digests`, expired ones also; None: there is none."""
    found = CODES.rows(tx, [(app_id, digest) for digest in digests])
    return SignInCode(**found[0]._asdict()) if found else None


def spend(tx: Transaction, items: Sequence[SpendCode]) -> list[bool]:
    """Binds each code to the key that uses it, in the unit that opens an admission or a session.

    True: it is this key's, now or since an earlier try. False: it is another key's, has expired, or a login
    came of it more than ANSWER_LOST_MS ago.
    """
    keys = [(item.app_id, item.code_digest) for item in items]
    found = {(row.app_id, row.code_digest): row for row in LOOK_AT_CODES.rows(tx, keys)}
    holders = {key: row.spent_by for key, row in found.items()}
    results, news = [], []
    for item in items:
        key = (item.app_id, item.code_digest)
        if key not in found or is_over(found[key], item.now):
            results.append(False)
            continue
        if not holders[key]:
            holders[key] = item.thumbprint
            news.append((item.app_id, item.code_digest, item.thumbprint))
        results.append(holders[key] == item.thumbprint)
    tx.write(SPEND_CODE, news)
    return results


def complete(tx: Transaction, items: Sequence[Completed]) -> None:
    """A login has come of each of these codes: only a repeat by the same key is let in, and not for long."""
    tx.write(
        COMPLETE_CODE,
        [(each.app_id, each.code_digest, each.thumbprint, each.now, each.session_id) for each in items],
    )


def mark_reused(tx: Transaction, second: SpendCode) -> str | None:
    """Ends a code that another key than this second one uses, for both of them and for good.

    Returns the session that came of it, "" where none has yet: its login is refused when it is settled, see
    `reused`. None: no other key uses the code, or it was ended before.
    """
    where = {"app": second.app_id, "digest": second.code_digest, "thumbprint": second.thumbprint}
    return tx.execute(MARK_REUSED, where).scalar_one_or_none()


def reused(tx: Transaction, items: Sequence[SpendCode]) -> list[bool]:
    """Whether a second key has shown the code meanwhile. None does so before the unit is over. List form."""
    keys = [(item.app_id, item.code_digest) for item in items]
    ended = {(row.app_id, row.code_digest) for row in LOOK_AT_CODES.rows(tx, keys) if row.spent_by == REUSED}
    return [key in ended for key in keys]


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` codes whose second use need not be noticed any more; returns how many."""
    return tx.execute(PRUNE_CODES, {"before": now - KEPT_MS, "most": rows_max}).rowcount


def is_over(code: Any, now: int) -> bool:
    """Whether `code` (a row or a SignInCode) opens nothing any more, whoever asks.

    Who has begun with it in time may end a little later: a policy may think for longer than a code lives.
    """
    if code.completed_at is not None:
        return bool(code.completed_at <= now - ANSWER_LOST_MS)
    return bool(code.expires_at + (ANSWER_LOST_MS if code.spent_by else 0) <= now)
