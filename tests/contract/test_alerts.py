"""Notices and warnings reach whoever signs in, and nobody who refreshes."""

from typing import Any

import pytest

from tests.contract.served import Answered, Served
from tests.contract.token_desk import refreshed, signed_in, signed_refresh

ADA = "ada@example.com"


async def add(served: Served, **body: Any) -> Answered:
    return await served.ask("POST", "/api/apps/notes/notices", headers=served.command(), json=body)


async def test_a_notice_is_read_at_every_login_and_at_no_refresh(served: Served) -> None:
    await served.app()
    assert (await add(served, message="Closed on Sunday.", type="warning")).status == 200
    body = (await signed_in(served, ADA)).json
    assert body["alerts"] == [
        {"type": "warning", "messageCode": "NOTICE", "message": "Closed on Sunday.", "messageParams": {}}
    ]
    again = (await refreshed(served, signed_refresh(served, body["refreshToken"]))).json
    assert "alerts" not in again


async def test_a_notice_ends_or_is_taken_back(served: Served) -> None:
    await served.app()
    now = served.hands()
    await add(served, message="For a minute.", until=now + 60_000)
    kept = (await add(served, message="For long.")).json["notices"][-1]["notice_id"]
    served.hands.move(seconds=61)
    assert [each["message"] for each in (await signed_in(served, ADA)).json["alerts"]] == ["For long."]
    path = f"/api/apps/notes/notices/{kept}"
    assert (await served.ask("DELETE", path, headers=served.command())).status == 200
    gone = await served.ask("DELETE", path, headers=served.command())
    assert (gone.status, gone.json["code"]) == (404, "notice_not_found")
    assert "alerts" not in (await signed_in(served, ADA)).json


@pytest.mark.parametrize("message", ["", " ", "x" * 501, "two\nlines", "You have {days} left."])
async def test_what_the_addon_would_garble_is_no_notice(served: Served, message: str) -> None:
    await served.app()
    assert (await add(served, message=message)).status == 400
    assert "alerts" not in (await signed_in(served, ADA)).json


async def test_an_app_has_ten_notices_at_most_and_those_that_are_over_make_room(served: Served) -> None:
    await served.app()
    await add(served, message="Over soon.", until=served.hands() + 1_000)
    statuses = [(await add(served, message=f"Notice {number}.")).status for number in range(10)]
    assert statuses == [200] * 9 + [409]
    served.hands.move(seconds=2)
    assert (await add(served, message="Notice 10.")).status == 200


async def test_people_hear_of_the_end_of_their_license_where_the_app_wants_it(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "eval", "evalDaysLeft": 2})
    assert "alerts" not in (await signed_in(served, ADA)).json
    path = "/api/apps/notes/license-warning"
    assert (await served.ask("PUT", path, headers=served.command(), json={"days": 7})).json["warn_days"] == 7
    [alert] = (await signed_in(served, ADA)).json["alerts"]
    assert (alert["messageCode"], alert["messageParams"]) == ("LICENSE_ENDS", {"days": "2"})
