"""The Python client of an app, for scripts and desktop programs: sign-in, tokens, the current user.

It speaks to a server over HTTP, as any client does. Nothing of the server lives here, and no room of it
knows this one.
"""

from admit.client.async_client import AsyncAdmitClient
from admit.client.current_user import Alert, CurrentUser, License
from admit.client.errors import (
    AdmitError,
    CannotReach,
    KeptFileError,
    NotSignedIn,
    ReauthenticationRequired,
    Refusal,
    SessionEnded,
    SessionLocked,
    SessionOver,
    SessionWiped,
    WipeFailed,
    WrongAddress,
    WrongCode,
)
from admit.client.observable import Observable
from admit.client.requests import Claims, ClientToken, DeviceInfo, SentCode
from admit.client.sync_client import AdmitClient

__all__ = [
    "AdmitClient",
    "AdmitError",
    "Alert",
    "AsyncAdmitClient",
    "CannotReach",
    "Claims",
    "ClientToken",
    "CurrentUser",
    "DeviceInfo",
    "KeptFileError",
    "License",
    "NotSignedIn",
    "Observable",
    "ReauthenticationRequired",
    "Refusal",
    "SentCode",
    "SessionEnded",
    "SessionLocked",
    "SessionOver",
    "SessionWiped",
    "WipeFailed",
    "WrongAddress",
    "WrongCode",
]
