"""What a device asks of POST /token over HTTP, and what it does with the answer."""

import asyncio
from typing import Any

import msgspec

from admit.events import log
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import Device, device

WAIT_SECONDS = 10


async def ask(served: Served, body: object) -> Answered:
    """Posts `body` to the token door of the app notes."""
    return await served.ask("POST", "/notes/token", data=msgspec.json.encode(body))


async def code_mailed_to(served: Served, email: str, *, after: int = 0) -> str:
    """The code of the newest mail to `email`, once more than `after` have come."""
    async with asyncio.timeout(WAIT_SECONDS):
        while len(mails := [each.mail for each in served.mails if each.mail.to == email]) <= after:
            await asyncio.sleep(0.01)  # the worker sends it
    return mails[-1].otp


async def asked_for_code(served: Served, email: str) -> Answered:
    """Step 1 of a sign-in by mailed code."""
    return await ask(served, {"grant_type": "otp", "email": email, "scopes": ["ACCESS_DB"]})


async def redeemed(
    served: Served, email: str | None, otp_id: str, otp: str, *, by: Device | None = None
) -> Answered:
    """Step 2."""
    body = {
        "grant_type": "otp",
        "email": email,
        "otp_id": otp_id,
        "otp": otp,
        "scopes": ["ACCESS_DB"],
        "public_key": (by or device()).public_key.pem,
    }
    return await ask(served, {name: value for name, value in body.items() if value is not None})


async def signed_in(served: Served, email: str, *, mailbox: str = "", by: Device | None = None) -> Answered:
    """Both steps; the code goes to `mailbox`, where that is not `email`."""
    before = sum(each.mail.to == (mailbox or email) for each in served.mails)
    otp_id = (await asked_for_code(served, email)).json["otp_id"]
    otp = await code_mailed_to(served, mailbox or email, after=before)
    return await redeemed(served, email, otp_id, otp, by=by)


async def refreshed(served: Served, body: object) -> Answered:
    """Sends what `signed_refresh` has made."""
    return await ask(served, body)


def signed_refresh(
    served: Served, token: str, *, by: Device | None = None, new_key: Device | None = None, **fields: Any
) -> dict[str, Any]:
    """A refresh as the addon signs it; `new_key` asks for a renewal."""
    time_stamp = fields.pop("time_stamp", served.hands())
    body = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "scopes": ["ACCESS_DB"],
        "signing_algorithm": "RSASSA-PKCS1-v1_5",
        "time_stamp": time_stamp,
        "signature": (by or device()).sign(f"{token}{time_stamp}"),
        **fields,
    }
    return body if new_key is None else body | {"public_key": new_key.public_key.pem}


async def events_of(served: Served, app_id: str) -> list[tuple[str, Any]]:
    """All events of the app, in order: type and data."""
    recorded = await served.gateway.db.read(lambda tx: log.after(tx, app_id, 0, 10_000))
    return [(event.type, msgspec.json.decode(event.data)) for event in recorded]
