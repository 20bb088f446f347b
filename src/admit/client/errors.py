"""What can go wrong for a client: a stable code for programs and a sentence for people.

AdmitError
├── WrongAddress                    the database URL cannot be used                  wrong_address
├── CannotReach                     nothing answers there, or not as Admit does      cannot_reach
├── KeptFileError                   what is kept on this machine cannot be used      kept_file_unusable
├── NotSignedIn                     nobody is signed in on this device               not_signed_in
├── WipeFailed                      the program could not erase what it keeps        wipe_failed
└── Refusal                         the server said no: its code, message, status
    ├── WrongCode                   the mailed code is wrong; type it again          INVALID_OTP
    └── SessionOver                 the session does not go on now
        ├── SessionLocked           an operator has locked it; it may come back      session_locked
        ├── ReauthenticationRequired  sign in again; the session then goes on        reauthentication_required
        ├── SessionWiped            what is kept was erased, as an operator asked    session_wiped
        └── SessionEnded            it is over for good; sign in again               session_ended
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from admit.errors import AdmitError

CODE_CHARACTERS_MAX = 100
MESSAGE_CHARACTERS_MAX = 1_000
RETRY_AFTER_SECONDS_MAX = 3_600
NO_SENTENCE = "The server refused with status {status} and said no more."
UNNAMED = "refused"
CODE_HEADER = "X-Admit-Error"

__all__ = ["AdmitError"]


class WrongAddress(AdmitError):
    """The database URL is not one that this client would send secrets to. The message says why."""

    code = "wrong_address"


class CannotReach(AdmitError):
    """Nothing answers at the database URL, or not as Admit does. Try again later."""

    code = "cannot_reach"


class KeptFileError(AdmitError):
    """The file with the device's identifier, key and session cannot be read or written."""

    code = "kept_file_unusable"


class NotSignedIn(AdmitError):
    """Nobody is signed in on this device."""

    code = "not_signed_in"


class WipeFailed(AdmitError):
    """`on_wipe` has raised, so the wipe is not confirmed. It is tried again at the next opportunity."""

    code = "wipe_failed"


class Refusal(AdmitError):
    """The server said no. `retry_after_seconds`: when to try again; None where it did not say."""

    def __init__(
        self, message: str, *, code: str, status: int, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered otherwise in a while."""
        return self.status >= 500 or self.status in (408, 429)


class WrongCode(Refusal):
    """The mailed code is not that of the mail. The same mail may be tried again."""


class SessionOver(Refusal):
    """The session does not go on, at least not now."""


class SessionLocked(SessionOver):
    """An operator has locked the session or the person. It goes on when they unlock it."""


class ReauthenticationRequired(SessionOver):
    """The person has to sign in again; the session then goes on."""


class SessionWiped(SessionOver):
    """An operator has wiped the session: what was kept of it is erased, and `on_wipe` was called."""


class SessionEnded(SessionOver):
    """The session was signed out, replaced, or has run out. Sign in again."""


class _Told(msgspec.Struct, frozen=True):
    """The part of an error's body that is read."""

    code: str
    message: str = ""


KINDS: Mapping[str, type[Refusal]] = {
    "INVALID_OTP": WrongCode,
    "session_locked": SessionLocked,
    "reauthentication_required": ReauthenticationRequired,
    "session_wiped": SessionWiped,
    "session_ended": SessionEnded,
}


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """The refusal in an answer: JSON with `code` and `message`, or a sentence with the code in a header."""
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        named = headers.get(CODE_HEADER)
        sentence = body.decode(errors="replace") if named else ""
        told = _Told(named or UNNAMED, sentence)
    code = told.code[:CODE_CHARACTERS_MAX]
    message = told.message[:MESSAGE_CHARACTERS_MAX] or NO_SENTENCE.format(status=_named(status))
    return KINDS.get(code, Refusal)(
        message, code=code, status=status, retry_after_seconds=_seconds(headers.get("Retry-After", ""))
    )


def _seconds(text: str) -> int | None:
    """RFC 9110 §10.2.3, the form in seconds only."""
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:10]), RETRY_AFTER_SECONDS_MAX)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
