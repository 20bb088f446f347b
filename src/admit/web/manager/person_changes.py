"""What the forms on a person's page do."""

from types import NoneType

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from admit.accounts.user_edits import UserChange
from admit.errors import Conflict, InvalidRequest
from admit.web.manager import person as person_page
from admit.web.manager.pages import Page, PageHandler, PageRoute, page
from admit.web.manager.people import without_entry
from admit.web.manager.person import path_of, standing_of
from admit.web.manager.toasts import Undo
from admit.web.manager.typed_json import read_object
from admit.web.people_replies import Person
from admit.web.sessions_types import DEVICES_MAX_MAX, DeviceLimit, SessionView, UserWithSessions
from admit.web.users_api import Ok

UNDO_BYTES_MAX = 1_500
"""What was there before travels in a cookie until it is put back."""

FIELDS = ("type", "eval_days", "valid_until", "devices_max")


async def change_standing(page: Page) -> Response:
    """Saves type, days of the trial, last day and number of devices, of what was changed on the form."""
    user_id, form = page.param("user_id"), page.form
    person = await _person(page)
    before = standing_of(person)
    typed = {name: form.text(name) for name in FIELDS}
    try:
        _refuse_stale(page, person)
        changed = {name for name in FIELDS if typed[name] != before[name]}
        limit = form.integer("devices_max", "Devices at once")
        if limit is not None and not 0 <= limit <= DEVICES_MAX_MAX:
            raise InvalidRequest(f"Devices at once: write a number from 0 to {DEVICES_MAX_MAX}, or nothing.")
        days = form.integer("eval_days", "Active days left") if "eval_days" in changed else None
        change = UserChange(
            user_id=user_id,
            type=typed["type"] if "type" in changed else UNSET,
            eval_days_left=UNSET if days is None else days,
            valid_until=(typed["valid_until"] or None) if "valid_until" in changed else UNSET,
        )
        if changed - {"devices_max"}:
            await page.send("POST", "/apps/{app}/users", Ok, [change])
        if "devices_max" in changed:
            path = "/v4/{app}/users/{user_id}/device-limit"
            await page.send("PUT", path, UserWithSessions, DeviceLimit(devices_max=limit), user_id=user_id)
    except (InvalidRequest, Conflict) as error:
        given = {"standing": typed, "problems": {"standing": without_entry(error.message)}}
        return await person_page.render(page, page.status_of(error), **given)
    if not changed:
        return page.go(_here(page))
    fields = {name: before[name] for name in FIELDS} | await _seen(page)
    undo = Undo(path_of(page, "standing"), fields)
    return page.done(_here(page), "The standing is saved.", undo)


async def change_data(page: Page) -> Response:
    """Puts JSON in the place of the data; nothing takes them away."""
    text = page.form.verbatim("data").strip()
    person = await _person(page)
    try:
        _refuse_stale(page, person)
        if text:
            read_object(text)
        data = msgspec.Raw(text.encode() or b"null")
        change = UserChange(user_id=page.param("user_id"), data=data)
        await page.send("POST", "/apps/{app}/users", Ok, [change])
    except (InvalidRequest, Conflict) as error:
        given = {"data": page.form.verbatim("data"), "problems": {"data": without_entry(error.message)}}
        return await person_page.render(page, page.status_of(error), **given)
    former = bytes(person.data).decode()
    small = len(former) <= UNDO_BYTES_MAX
    fields = {"data": "" if former == "null" else former} | await _seen(page)
    undo = Undo(path_of(page, "data"), fields) if small else None
    return page.done(_here(page), "The data are saved.", undo)


async def deactivate(page: Page) -> Response:
    """Closes the door; what they have is kept."""
    await _set_deactivated(page, "POST")
    return page.done(
        _here(page), f"{page.param('user_id')} is deactivated.", Undo(path_of(page, "reactivate"))
    )


async def reactivate(page: Page) -> Response:
    """Opens the door again."""
    await _set_deactivated(page, "DELETE")
    return page.done(
        _here(page), f"{page.param('user_id')} may come in again.", Undo(path_of(page, "deactivate"))
    )


async def lock(page: Page) -> Response:
    """Locks every session, and lets no new one be opened."""
    await _move(page, "lock")
    return page.done(
        _here(page), "All devices are locked. They are told at once.", Undo(path_of(page, "unlock"))
    )


async def unlock(page: Page) -> Response:
    """The sessions that were locked with the person go on."""
    await _move(page, "unlock")
    return page.done(_here(page), "The devices are unlocked.", Undo(path_of(page, "lock")))


async def lock_session(page: Page) -> Response:
    """Locks one device."""
    await _move_session(page, "lock")
    undo = Undo(path_of(page, "sessions", page.param("session_id"), "unlock"))
    return page.done(_here(page), f"{_device(page)} is locked.", undo)


async def unlock_session(page: Page) -> Response:
    """Lets one device go on."""
    await _move_session(page, "unlock")
    undo = Undo(path_of(page, "sessions", page.param("session_id"), "lock"))
    return page.done(_here(page), f"{_device(page)} is unlocked.", undo)


async def wipe_session(page: Page) -> Response:
    """Ends a session for good."""
    await _move_session(page, "wipe")
    return page.done(_here(page), f"{_device(page)} is to erase what it holds when it connects next.")


async def authenticate_again(page: Page) -> Response:
    """Locks a device until its person has signed in on it again."""
    await _move_session(page, "re-authenticate")
    undo = Undo(path_of(page, "sessions", page.param("session_id"), "unlock"))
    return page.done(_here(page), f"{_device(page)} waits for a new sign-in.", undo)


async def unlink(page: Page) -> Response:
    """Takes an identity away."""
    query = {"issuer": page.form.text("issuer"), "subject": page.form.verbatim("subject")}
    path = "/apps/{app}/users/{user_id}/identities"
    await page.send("DELETE", path, NoneType, query=query, user_id=page.param("user_id"))
    return page.done(_here(page), "The identity leads to nobody any more.")


async def revoke_link(page: Page) -> Response:
    """Ends an enrollment link."""
    path = "/apps/{app}/users/{user_id}/enrollment-tokens/{token_id}"
    await page.send("DELETE", path, NoneType, user_id=page.param("user_id"), token_id=page.param("token_id"))
    return page.done(_here(page), "The enrollment link is revoked.")


async def delete(page: Page) -> Response:
    """Deletes the person, whose user ID must be typed."""
    user_id = page.param("user_id")
    if page.form.text("confirm") != user_id:
        wrong = InvalidRequest("What was typed is not the user ID. Nothing was deleted.")
        return await person_page.render(page, page.status_of(wrong), problems={"delete": wrong.message})
    await page.send("DELETE", "/apps/{app}/users/{user_id}", NoneType, user_id=user_id)
    return page.done(page.here("people"), f"{user_id} is deleted.")


async def _person(page: Page) -> Person:
    return await page.get("/apps/{app}/users/{user_id}", Person, user_id=page.param("user_id"))


async def _seen(page: Page) -> dict[str, str]:
    """The field that says as of when the person is seen."""
    return {"seen": str((await _person(page)).updated_at)}


def _refuse_stale(page: Page, person: Person) -> None:
    """Somebody else may have changed the person since the form, or the way to undo it, was shown."""
    seen = page.form.integer("seen", "seen")
    if seen is not None and seen != person.updated_at:
        raise Conflict(
            "Somebody else has changed this person meanwhile. What you typed is still here: look at the "
            "present values on a fresh page, then save again."
        )


async def _set_deactivated(page: Page, method: str) -> None:
    path = "/apps/{app}/users/{user_id}/deactivation"
    user_id = page.param("user_id")
    await page.send("POST" if method == "POST" else "DELETE", path, Person, user_id=user_id)


async def _move(page: Page, move: str) -> None:
    path = f"/v4/{{app}}/users/{{user_id}}/{move}"
    await page.send("POST", path, UserWithSessions, user_id=page.param("user_id"))


async def _move_session(page: Page, move: str) -> None:
    path = f"/v4/{{app}}/users/{{user_id}}/sessions/{{session_id}}/{move}"
    user_id, session_id = page.param("user_id"), page.param("session_id")
    await page.send("POST", path, SessionView, user_id=user_id, session_id=session_id)


def _device(page: Page) -> str:
    """What the form calls the device, for the sentence that follows."""
    return page.form.text("name")[:100] or "The device"


def _here(page: Page) -> str:
    return page.here("people", page.param("user_id"))


def _form(path: str, handler: PageHandler) -> PageRoute:
    return page("POST", f"/apps/{{app}}/people/{{user_id}}{path}", handler, nav="people")


PAGES = (
    _form("/standing", change_standing),
    _form("/data", change_data),
    _form("/deactivate", deactivate),
    _form("/reactivate", reactivate),
    _form("/lock", lock),
    _form("/unlock", unlock),
    _form("/delete", delete),
    _form("/identities/unlink", unlink),
    _form("/enrollment-links/{token_id}/revoke", revoke_link),
    _form("/sessions/{session_id}/lock", lock_session),
    _form("/sessions/{session_id}/unlock", unlock_session),
    _form("/sessions/{session_id}/wipe", wipe_session),
    _form("/sessions/{session_id}/re-authenticate", authenticate_again),
)
