"""Every error that a caller may meet: a stable code for programs and a sentence for people.

AdmitError
├── ConfigError                 a setting is wrong; the start stops
├── InvalidRequest              the request cannot be understood                     invalid_request
│   ├── UnsupportedGrant        grant_type is not one of ours                        unsupported_grant_type
│   └── TooLarge                a field or body is over its limit                    too_large
├── Unauthorized                no valid credential came along                       unauthorized
│   ├── InvalidClient           wrong client_id or client_secret                     invalid_client
│   ├── InvalidToken            the bearer token is not valid here                   invalid_token
│   ├── InvalidGrant            refresh token or its signature is not accepted       invalid_grant
│   └── InvalidOtp              the mailed code is wrong                             INVALID_OTP
├── Forbidden                   the credential does not reach that far               insufficient_scope
├── Refused                     a person may not come in; carries its own code       (policy codes)
├── NotFound                    no such thing in this app                            not_found
├── Conflict                    it exists already or has changed meanwhile           conflict
├── CursorExpired               what comes next behind a cursor is not known         cursor_expired
├── TokenOver                   an enrollment token has met its end                  token_used
├── RateLimited                 too many; try again later                            rate_limited
├── ProviderFault               what a provider answered cannot be used              (its own codes)
├── NotBuilt                    part of the contract, but not of this server         not_built
└── Unavailable                 not now; try again in a moment                       temporarily_unavailable
    └── StorageUnavailable      the database does not answer                         storage_unavailable
"""


class AdmitError(Exception):
    """Base of all errors with a meaning outside: `code` for programs, `message` for people."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ConfigError(AdmitError):
    """A setting has a wrong value. The message names the setting, the problem and an example."""

    code = "config_error"


class InvalidRequest(AdmitError):
    """The request is malformed; nothing was changed."""

    code = "invalid_request"


class UnsupportedGrant(InvalidRequest):
    """RFC 6749 §5.2."""

    code = "unsupported_grant_type"


class TooLarge(InvalidRequest):
    """A field or a body exceeds its documented limit."""

    code = "too_large"


class Unauthorized(AdmitError):
    """No valid credential was presented."""

    code = "unauthorized"


class InvalidClient(Unauthorized):
    """RFC 6749 §5.2: client authentication failed."""

    code = "invalid_client"


class InvalidToken(Unauthorized):
    """RFC 6750 §3.1: the bearer token is expired, revoked, malformed or meant for another app."""

    code = "invalid_token"


class InvalidGrant(Unauthorized):
    """RFC 6749 §5.2, with the 401 that the Dexie Cloud contract asks for."""

    code = "invalid_grant"


class InvalidOtp(Unauthorized):
    """The mailed code does not match. The message is shown to the person as it is."""

    code = "INVALID_OTP"


class Forbidden(AdmitError):
    """The credential is valid but lacks a scope. RFC 6750 §3.1."""

    code = "insufficient_scope"


class Refused(AdmitError):
    """A person may not come in. `code` is one of the policy codes below or the operator's own."""


class NotFound(AdmitError):
    """There is no such thing in this app."""

    code = "not_found"


class Conflict(AdmitError):
    """It exists already, or somebody changed it meanwhile."""

    code = "conflict"


class CursorExpired(AdmitError):
    """What comes next behind a cursor is not known any more. The message says where to begin again."""

    code = "cursor_expired"


class TokenOver(AdmitError):
    """An enrollment token was right, and opens no more. `code` tells why; the message is for the person."""

    code = "token_used"


class ProviderFault(AdmitError):
    """A provider of single sign-on did not answer, or not with what can be believed.

    `code` tells which check has failed, the message is for the person, `detail` for the operator's log.
    """

    code = "provider_unreachable"

    def __init__(self, message: str, *, code: str, detail: str = "") -> None:
        super().__init__(message, code=code)
        self.detail = detail


class NotBuilt(AdmitError):
    """The contract has it and this server does not. The message says so, and what to do instead."""

    code = "not_built"


class RateLimited(AdmitError):
    """A limit was reached. `retry_after_seconds` tells when to try again."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(AdmitError):
    """The server cannot do this now; nothing was changed. `retry_after_seconds` tells when to try again."""

    code = "temporarily_unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Unavailable):
    """The database does not answer, or is out of space."""

    code = "storage_unavailable"


USER_NOT_REGISTERED = "USER_NOT_REGISTERED"
USER_NOT_ACCEPTED = "USER_NOT_ACCEPTED"
USER_DEACTIVATED = "USER_DEACTIVATED"
USER_LOCKED = "USER_LOCKED"
DEVICE_LIMIT_REACHED = "DEVICE_LIMIT_REACHED"
NO_SEATS_AVAILABLE = "NO_SEATS_AVAILABLE"
WEBHOOK_ERROR = "WEBHOOK_ERROR"
TOO_MANY_GUESSES = "TOO_MANY_GUESSES"
EMAIL_MISSING = "EMAIL_MISSING"
EMAIL_NOT_VERIFIED = "EMAIL_NOT_VERIFIED"
EMAIL_NOT_TRUSTED = "EMAIL_NOT_TRUSTED"
SIGN_IN_EXPIRED = "SIGN_IN_EXPIRED"
MAILED_CODES_OFF = "MAILED_CODES_OFF"
