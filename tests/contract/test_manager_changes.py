"""The pages of what operators changed."""

import pytest

from tests.contract.manager_pages import signed_in
from tests.contract.served import Served


async def test_page_tells_who_changed_what(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        empty = await operator.get("/apps/notes/changes")
        assert "Nothing has been changed yet" in empty.text
        form = (await operator.get("/apps/notes/settings")).form("/settings/seats")
        saved = await operator.post(form, limit="7")
        assert "The seats are saved." in saved.text
        listed = await operator.get("/apps/notes/changes")
        shown = await operator.get(listed.links["Sets how many seats there are"])
    assert "PUT /api/apps/notes/seats" in listed.text
    assert "owner@example.com" in listed.text
    assert "Done" in listed.text
    assert shown.status == 200
    assert "What differs Value Before After limit null 7" in shown.text
    assert "admit change show chg_" in shown.text


async def test_changes_are_found_by_path_and_who(served: Served) -> None:
    await served.app()
    for path, body in (("seats", {"limit": 3}), ("license-warning", {"days": 9})):
        await served.ask("PUT", f"/api/apps/notes/{path}", headers=served.command(), json=body)
    async with signed_in(served) as operator:
        seats = await operator.get("/changes?search=seats")
        nobody = await operator.get("/changes?who=nobody@example.com")
        command = await operator.get("/changes?who=command&days=1")
    assert "/api/apps/notes/seats" in seats.text
    assert "license-warning" not in seats.text
    assert "admit change list --search seats" in seats.text
    assert "No change fits" in nobody.text
    assert "license-warning" in command.text
    assert "A command on the server" in command.text


async def test_changes_lead_to_older_ones(served: Served) -> None:
    await served.app()
    for limit in range(52):
        await served.ask("PUT", "/api/apps/notes/seats", headers=served.command(), json={"limit": limit})
    async with signed_in(served) as operator:
        first = await operator.get("/apps/notes/changes")
        older = await operator.get(first.links["Older"])
    assert first.text.count("PUT /api/apps/notes/seats") == 50
    assert older.text.count("PUT /api/apps/notes/seats") == 2
    assert "Older" not in older.links
    assert older.links["Newer"] == "/manager/apps/notes/changes"


async def test_refused_change_says_that_nothing_was_changed(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/settings")).form("/settings/owners")
        assert (await operator.post(form, email="nonsense")).status == 400
        listed = await operator.get("/apps/notes/changes")
        shown = await operator.get(listed.links["Adds an owner"])
    assert "Refused" in listed.text
    assert "Nothing was changed." in shown.text
    assert "invalid_request" in shown.text


async def test_what_was_typed_by_people_is_no_part_of_the_page(served: Served) -> None:
    await served.app()
    body = {"message": '<script>alert("x")</script>'}
    await served.ask("POST", "/api/apps/notes/notices", headers=served.command(), json=body)
    async with signed_in(served) as operator:
        listed = await operator.get("/apps/notes/changes")
        shown = await operator.get(listed.links["Shows a notice to everybody who signs in"])
    assert "<script>alert" not in shown.html
    assert "alert" in shown.text


@pytest.mark.parametrize(("role", "status"), [("read-only", 200), ("support", 403)])
async def test_role_says_who_sees_changes(served: Served, role: str, status: int) -> None:
    await served.app()
    async with signed_in(served, role) as operator:  # type: ignore[arg-type]
        for path in ("/changes", "/apps/notes/changes"):
            assert (await operator.get(path)).status == status


async def test_change_of_another_app_is_not_found(served: Served) -> None:
    await served.app("notes")
    await served.app("other")
    await served.ask("PUT", "/api/apps/other/seats", headers=served.command(), json={"limit": 1})
    async with signed_in(served) as operator:
        listed = await operator.get("/apps/other/changes")
        place = listed.links["Sets how many seats there are"]
        assert (await operator.get(place)).status == 200
        assert (await operator.get(place.replace("/other/", "/notes/"))).status == 404
        assert (await operator.get("/changes?before=x")).status == 400


async def test_change_of_the_own_account_is_written_down_without_what_was_typed(served: Served) -> None:
    async with signed_in(served) as operator:
        form = (await operator.get("/account")).form("/account/name")
        await operator.post(form, name="Somebody Else")
        listed = await operator.get("/changes")
        shown = await operator.get(listed.links["Changes their own name"])
    assert "/manager/account/name" in shown.text
    assert "What was asked" not in shown.text
    assert "Done" in shown.text


async def test_change_that_needs_a_fresh_sign_in_is_told_as_refused(served: Served) -> None:
    async with signed_in(served) as operator:
        form = (await operator.get("/account")).form("/account/password")
        served.hands.move(seconds=3_600)
        await operator.post(form, password="a long enough password", again="a long enough password")
        served.hands.move(seconds=-3_600)
        listed = await operator.get("/changes")
    assert "Changes their own password" in listed.links
    assert "Refused" in listed.text
    assert "a long enough password" not in listed.html
