"""What a client sends, and the small values that go to and fro with it."""

import platform
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

from admit.client.device_key import SIGNING_ALGORITHM, DeviceKey

DETAIL_CHARACTERS_MAX = 100
ENROLLMENT_TOKEN = "urn:admit:enrollment-token"  # noqa: S105  (the name of a grant)
PERSON_SCOPES = ("ACCESS_DB",)

Intent = Literal["login", "register"]


def platform_name() -> str:
    """What this machine runs: Linux, macOS, Windows."""
    name = platform.system() or "Python"
    return "macOS" if name == "Darwin" else name[:DETAIL_CHARACTERS_MAX]


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the operator is told about this device.

    Nothing in it is personal unless you put it there, such as the host's name:
    `DeviceInfo(label=platform.node())`. `bundle_id` and `app_version` are those of your program.
    """

    label: str = msgspec.field(default_factory=lambda: f"Python on {platform_name()}")
    platform: str = msgspec.field(default_factory=platform_name)
    model: str = ""
    bundle_id: str = ""
    app_version: str = ""
    runtime_version: str = msgspec.field(default_factory=lambda: f"Python {platform.python_version()}")


class DeviceSent(msgspec.Struct, frozen=True, kw_only=True):
    """The device as it goes with a login."""

    id: str
    label: str
    platform: str
    model: str
    bundle_id: str
    app_version: str
    runtime_version: str

    @classmethod
    def of(cls, device_id: str, info: DeviceInfo) -> "DeviceSent":
        """`info` under its identifier."""
        return cls(id=device_id, **msgspec.structs.asdict(info))


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a back end vouches for. `sub` is their userId."""

    sub: str
    email: str | None = None
    email_verified: bool | None = None
    name: str | None = None


class SentCode(msgspec.Struct, frozen=True, kw_only=True):
    """A mail with a code is on its way. Another process may redeem it: it can be stored, and is no secret."""

    email: str
    otp_id: str
    intent: Intent | None = None


class OtpSent(msgspec.Struct, frozen=True, tag="otp-sent", tag_field="type"):
    """The answer of the server: a mail is on its way."""

    otp_id: str


class ClientToken(msgspec.Struct, frozen=True):
    """The access token of an API client. `expires_at`: UTC milliseconds by the server's clock."""

    access_token: str
    expires_at: int
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"ClientToken(expires_at={self.expires_at})"


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of POST /token for a login."""

    grant_type: str
    scopes: tuple[str, ...] = ()
    email: str | None = None
    intent: Intent | None = None
    otp_id: str | None = None
    otp: str | None = None
    demo_user: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    claims: Claims | None = None
    enrollment_token: str | None = None
    public_key: str | None = None
    device: DeviceSent | None = None

    def __repr__(self) -> str:
        return f"TokenRequest({self.grant_type})"


class Signed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refresh token, and the proof that its device is here now. `time_stamp`: UTC milliseconds."""

    refresh_token: str
    time_stamp: int
    signature: str
    signing_algorithm: Literal["RSASSA-PKCS1-v1_5"]
    grant_type: str | None = None
    scopes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Signed({self.time_stamp})"


def signed(key: DeviceKey, refresh_token: str, time_stamp: int, *, refreshes: bool) -> Signed:
    """The body of a refresh, or of anything else that a device proves in the same way."""
    return Signed(
        refresh_token=refresh_token,
        time_stamp=time_stamp,
        signature=key.sign(f"{refresh_token}{time_stamp}"),
        signing_algorithm=SIGNING_ALGORITHM,
        grant_type="refresh_token" if refreshes else None,
        scopes=() if refreshes else None,
    )


def enrollment_token_of(link: str) -> str:
    """The token in a link that ends in `#enrollment_token=…`; a text that is no link is the token itself."""
    text = link.strip()
    found = parse_qs(urlsplit(text).fragment).get("enrollment_token")
    return found[0] if found else text
