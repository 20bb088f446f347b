"""One-time codes at rest: counted before they are compared, spent by one key, completed by one login.

The functions that take a transaction are units of work; `spend` and `complete` serve many callers at once.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, delete, insert, or_, select, tuple_, update

from admit.signin.email_addresses import Addressee, mailbox_of
from admit.signin.known_networks import Place, remember, turns
from admit.signin.limits import Limits, give_back, take
from admit.signin.proof import Intent
from admit.signin.tables import email_codes
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

CODE_DIGITS = 8
GUESSES_MAX = 5
USES_MAX = 10

Use = Literal["sign_in", "connect"]
"""What a code is good for: it is worthless for anything else."""
CODE_PURPOSES: dict[Use, str] = {"sign_in": "email-code", "connect": "connect-code"}

ANSWER_LOST_MS = 60_000
"""How long the same key may repeat the code of a login, whose answer may have been lost on the way."""

_CODE = (email_codes.c.app_id == bindparam("app")) & (email_codes.c.otp_id == bindparam("otp"))
_KEY = tuple_(email_codes.c.app_id, email_codes.c.otp_id)
_OPEN = (email_codes.c.expires_at > bindparam("now")) & or_(
    email_codes.c.completed_at.is_(None), email_codes.c.completed_at > bindparam("now") - ANSWER_LOST_MS
)

ADD_CODE = insert(email_codes)
COUNT_GUESS = (
    update(email_codes)
    .where(_CODE, _OPEN, email_codes.c.guesses < GUESSES_MAX)
    .values(guesses=email_codes.c.guesses + 1)
    .returning(
        email_codes.c.email,
        email_codes.c.acting_for,
        email_codes.c.intent,
        email_codes.c.network,
        email_codes.c.code_digest,
        email_codes.c.uses,
        email_codes.c.spent_by,
    )
)
GUESSES_OF_OPEN = select(email_codes.c.guesses).where(_CODE, _OPEN)
COUNT_USE = (
    update(email_codes).where(_CODE).values(guesses=email_codes.c.guesses - 1, uses=email_codes.c.uses + 1)
)
LOOK_AT_CODES = Lookup(
    select(
        email_codes.c.app_id,
        email_codes.c.otp_id,
        email_codes.c.spent_by,
        email_codes.c.expires_at,
        email_codes.c.completed_at,
    ),
    (email_codes.c.app_id, email_codes.c.otp_id),
    lock=True,
)
SPEND_CODE = Change(email_codes, (email_codes.c.app_id, email_codes.c.otp_id), (email_codes.c.spent_by,))
COMPLETE_CODE = Change(
    email_codes,
    (email_codes.c.app_id, email_codes.c.otp_id, email_codes.c.spent_by),
    (email_codes.c.completed_at,),
    only=(email_codes.c.completed_at.is_(None),),
)
PRUNE_CODES = delete(email_codes).where(
    _KEY.in_(
        select(email_codes.c.app_id, email_codes.c.otp_id)
        .where(email_codes.c.expires_at <= bindparam("now"))
        .limit(bindparam("most"))
    )
)

_OTP_ID = re.compile(r"otp_[0-9a-f]{40}")
_DIGITS = re.compile(rf"[0-9]{{{CODE_DIGITS}}}")
_BETWEEN_DIGITS = re.compile(r"[\s-]+")


class NewCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code to be mailed to `email`, whose owner wants to sign in as `acting_for` ("": as themselves).

    `network` is where it was asked for; "" where that is not known.
    """

    app_id: str
    otp_id: str
    email: str
    acting_for: str = ""
    intent: Intent
    network: str = ""
    code_digest: str
    created_at: int
    expires_at: int


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody typed. `addressee` is None and `intent` "" where the request does not tell."""

    app_id: str
    otp_id: str
    otp: str
    addressee: Addressee | None
    intent: Intent
    thumbprint: str
    network: str
    now: int
    use: Use = "sign_in"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a guess. The rest is what step 1 was told; only a right guess learns it."""

    kind: Literal["right", "wrong", "too_many", "too_many_today"]
    addressee: Addressee = Addressee("")
    intent: Intent = ""


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """A code, and the thumbprint of the key that uses it."""

    app_id: str
    otp_id: str
    thumbprint: str
    now: int


WRONG = Outcome("wrong")


def digest_of(ring: KeyRing, app_id: str, otp_id: str, otp: str, use: Use = "sign_in") -> str:
    """What is kept of a code: worthless in another app, under another `otp_id` and for another use."""
    return ring.digest(CODE_PURPOSES[use], _bound(app_id, otp_id, otp))


def could_be_otp_id(text: str) -> bool:
    """Whether `text` is spelled like ours. What a database cannot store must not reach it."""
    return _OTP_ID.fullmatch(text) is not None


def digits_of(typed: str) -> str:
    """The code in what a person typed or pasted, spaces and dashes left out; "" when there is none."""
    code = _BETWEEN_DIGITS.sub("", typed)
    return code if _DIGITS.fullmatch(code) else ""


def add(tx: Transaction, code: NewCode) -> None:
    """Keeps a new code."""
    unused = {"guesses": 0, "uses": 0, "spent_by": "", "completed_at": None}
    tx.execute(ADD_CODE, msgspec.structs.asdict(code) | unused)


def try_guess(tx: Transaction, ring: KeyRing, guess: Guess, limits: Limits) -> Outcome:
    """Counts, then compares, then takes the count back from a right guess: rivals wait for the row.

    Wrong guesses at one mailbox are limited over all its codes, by the network that had asked for the code:
    nobody else knows its `otp_id`. Where a code is asked for and then typed, its owner is known from then on.
    """
    where = {"app": guess.app_id, "otp": guess.otp_id, "now": guess.now}
    code = tx.execute(COUNT_GUESS, where).first()
    if code is None:
        return WRONG if tx.execute(GUESSES_OF_OPEN, where).first() is None else Outcome("too_many")
    place = Place(guess.app_id, mailbox_of(code.email), code.network)
    counted = turns(
        tx,
        ring,
        place,
        "wrong-guess",
        here=limits.wrong_guesses_per_mailbox_and_network,
        everywhere=limits.wrong_guesses_per_mailbox,
        now=guess.now,
    )
    if take(tx, ring, guess.app_id, counted, guess.now) is not None:
        return Outcome("too_many_today")
    addressee = Addressee(code.email, code.acting_for)
    is_right = (
        ring.matches(
            CODE_PURPOSES[guess.use], _bound(guess.app_id, guess.otp_id, guess.otp), code.code_digest
        )
        and guess.addressee in (None, addressee)
        and guess.intent in ("", code.intent)
        and code.spent_by in ("", guess.thumbprint)
        and code.uses < USES_MAX
    )
    if not is_right:
        return WRONG
    tx.execute(COUNT_USE, where)
    give_back(tx, ring, guess.app_id, counted, guess.now)
    if guess.network == code.network:
        remember(tx, ring, place, guess.now)
    return Outcome("right", addressee, code.intent)


def spend(tx: Transaction, items: Sequence[Spend]) -> list[bool]:
    """Binds each code to the key that uses it, in the unit that opens an admission or a session.

    True: it is this key's, now or since an earlier try. False: it is another key's, has expired, or a login
    came of it more than ANSWER_LOST_MS ago; for the person that is InvalidOtp.
    """
    keys = [(item.app_id, item.otp_id) for item in items]
    found = {(row.app_id, row.otp_id): row for row in LOOK_AT_CODES.rows(tx, keys)}
    holders = {key: row.spent_by for key, row in found.items()}
    results, news = [], []
    for item in items:
        key = (item.app_id, item.otp_id)
        if key not in found or _is_over(found[key], item.now):
            results.append(False)
            continue
        if not holders[key]:
            holders[key] = item.thumbprint
            news.append((item.app_id, item.otp_id, item.thumbprint))
        results.append(holders[key] == item.thumbprint)
    tx.write(SPEND_CODE, news)
    return results


def complete(tx: Transaction, items: Sequence[Spend]) -> None:
    """A login has come of each of these codes: only a repeat by the same key is let in, and not for long."""
    tx.write(COMPLETE_CODE, [(item.app_id, item.otp_id, item.thumbprint, item.now) for item in items])


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` codes that have expired; returns how many it were."""
    return tx.execute(PRUNE_CODES, {"now": now, "most": rows_max}).rowcount


def _is_over(code: Any, now: int) -> bool:
    return code.expires_at <= now or (
        code.completed_at is not None and code.completed_at <= now - ANSWER_LOST_MS
    )


def _bound(app_id: str, otp_id: str, otp: str) -> str:
    return f"{app_id}/{otp_id}/{otp}"
