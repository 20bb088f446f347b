"""/api/v4/…/devices: the devices of a user; and a session found by its id alone."""

import pytest

from admit.accounts import users
from admit.clock import DAY_MS
from tests.contract.crowded_devices import enrolled, move_onto_devices
from tests.contract.served import Served
from tests.contract.test_sessions_api import ADA, BOB, Api, is_error

PHONE = {
    "id": "phone-1",
    "label": "Ada’s phone",
    "platform": "ios",
    "model": "iPhone 15",
    "bundle_id": "com.example.notes",
    "app_version": "2.1",
    "runtime_version": "5.0",
}


@pytest.fixture
async def api(served: Served) -> Api:
    app = await served.app()
    return Api(served, app, await served.client(app))


async def test_devices_of_a_user_come_with_their_newest_sessions(api: Api) -> None:
    await api.enrolled(ADA, on=PHONE)
    (first,) = (await api.get(f"users/{ADA}/sessions"))["objects"]
    api.served.hands.move(seconds=1)
    await api.enrolled(ADA)
    await api.enrolled(BOB, on={"id": "phone-1"})
    await api.ask("POST", f"users/{ADA}/sessions/{first['id']}/lock")
    api.served.hands.move(seconds=1)
    await api.enrolled(ADA, on=PHONE)

    page = await api.get(f"users/{ADA}/devices")

    assert (page["total"], page["count"], page["more"], page["next"]) == (2, 2, False, None)
    browser, phone = page["objects"]
    assert browser["derived"]
    assert (browser["label"], browser["model"]) == (None, None)
    assert browser["container"] == {"version": None, "bundle_id": None, "platform": None}
    newest = (await api.get(f"users/{ADA}/sessions?device=phone-1"))["objects"][0]
    assert phone == {
        "id": "phone-1",
        "derived": False,
        "label": "Ada’s phone",
        "model": "iPhone 15",
        "container": {"version": "2.1", "bundle_id": "com.example.notes", "platform": "ios"},
        "runtime": {"version": "5.0"},
        "first_seen_at": first["created_at"],
        "last_seen_at": newest["created_at"],
        "session": {
            "id": newest["id"],
            "state": "ENROLLED",
            "reason": None,
            "ordinal": 2,
            "created_at": newest["created_at"],
            "last_connected_at": newest["last_connected_at"],
        },
    }
    await api.ask("POST", f"users/{ADA}/sessions/{newest['id']}/wipe")
    session = (await api.get(f"users/{ADA}/devices"))["objects"][1]["session"]
    assert (session["id"], session["state"], session["reason"]) == (newest["id"], "RESET", "wiped")


async def test_pages_of_devices_lead_to_each_other(api: Api) -> None:
    for number in range(5):
        await api.enrolled(ADA, on={"id": f"phone-{number}"})
    whole = [each["id"] for each in (await api.get(f"users/{ADA}/devices"))["objects"]]
    assert sorted(whole) == [f"phone-{number}" for number in range(5)]

    seen, after = [], ""
    while after is not None:
        page = await api.get(f"users/{ADA}/devices?limit=2" + (f"&after={after}" if after else ""))
        assert (page["total"], page["more"]) == (5, page["next"] is not None)
        seen += [each["id"] for each in page["objects"]]
        after = page["next"]
        await api.enrolled(ADA, on={"id": "phone-0"})  # is seen again meanwhile, and stays where it was
    assert seen == whole
    skipped = (await api.get(f"users/{ADA}/devices?skip=4"))["objects"]
    assert [each["id"] for each in skipped] == whole[4:]


async def test_user_who_has_not_enrolled_has_no_device(api: Api) -> None:
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})

    assert (await api.get(f"users/{ADA}/devices"))["objects"] == []
    assert is_error(await api.ask("GET", "users/nobody/devices"), 404, "user_not_found")
    for query in ("limit=0", "limit=1001", "skip=-1", "after=nonsense", "device=phone-1"):
        assert is_error(await api.ask("GET", f"users/{ADA}/devices?{query}"), 400, "invalid_request"), query


async def test_device_on_which_only_an_owner_acted_has_no_session(api: Api) -> None:
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})
    key = api.app.app_id, ADA
    found = await api.served.gateway.db.read(lambda tx: users.by_user_id(tx, [key]))
    now = api.served.hands()
    acting = enrolled(
        found[key], actor="owner@example.com", created_at=now, connected_at=now, refresh_until=now + DAY_MS
    )
    await move_onto_devices(api.served.gateway.db, [acting])

    (device,) = (await api.get(f"users/{ADA}/devices"))["objects"]
    assert device["session"] is None


async def test_session_is_found_by_its_id_alone(api: Api) -> None:
    await api.enrolled(ADA, on=PHONE)
    (session,) = (await api.get(f"users/{ADA}/sessions"))["objects"]

    assert await api.get(f"sessions/{session['id']}") == session
    for unknown in ("ses_1", "%20", session["id"] + "0"):
        assert is_error(await api.ask("GET", f"sessions/{unknown}"), 404, "session_not_found"), unknown
