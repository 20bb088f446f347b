"""The pages of apps: the list, a new one, and the settings of one."""

from typing import Any

import pytest

from tests.contract.manager_pages import FoundForm, Shown, signed_in
from tests.contract.served import Served

SETTINGS = "/apps/notes/settings"


async def api(served: Served, path: str) -> Any:
    answer = await served.ask("GET", f"/api/apps/notes{path}", headers=served.command())
    assert answer.status == 200
    return answer.json


def undo_form(shown: Shown, action_end: str) -> FoundForm:
    """The form behind Undo in the toast: the last one to `action_end`."""
    return [each for each in shown.forms if each.action.endswith(action_end)][-1]


async def test_first_app_is_made_and_leads_to_its_first_steps(served: Served) -> None:
    async with signed_in(served) as operator:
        empty = await operator.get("/apps")
        assert "There is no app yet" in empty.text
        form = (await operator.get("/create-app")).form("/create-app")
        assert form.fields["owner"] == "owner@example.com"
        made = await operator.post(form, name="notes", user_ids="opaque")
        assert made.url.endswith("/manager/apps/notes")
        assert "notes is made." in made.text
        listed = await operator.get("/apps")
    assert listed.links["notes"] == "/manager/apps/notes"
    app = await api(served, "")
    assert (app["user_ids"], app["owners"]) == ("opaque", ["owner@example.com"])


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    [
        ({"name": "Field Notes"}, 400, "cannot name an app"),
        ({"name": "manager"}, 400, "is reserved"),
        ({"name": "notes"}, 409, "There is an app"),
        ({"name": "more", "owner": "nobody"}, 400, "nobody"),
        ({"name": "more", "user_ids": "both"}, 400, "Choose what a userId is."),
    ],
)
async def test_app_that_cannot_be_is_told_beside_what_was_typed(
    served: Served, typed: dict[str, str], status: int, says: str
) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get("/create-app")).form("/create-app")
        refused = await operator.post(form, **typed)
        assert refused.status == status
        assert says in refused.text
        assert refused.form("/create-app").fields["name"] == typed["name"]
        assert "more" not in (await operator.get("/apps")).links


async def test_switcher_lists_apps(served: Served) -> None:
    for name in ("notes", "plans"):
        await served.app(name)
    async with signed_in(served, "read-only") as operator:
        menu = await operator.get("/app-menu?current=plans")
    assert menu.links == {"No notes": "/manager/apps/notes", "Pl plans": "/manager/apps/plans"}
    assert menu.html.count('aria-current="true"') == 1
    assert "<html" not in menu.html


async def test_rules_are_saved_and_taken_back(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(SETTINGS)).form("/settings/rules")
        assert form.fields["eval_days"] == "30"
        saved = await operator.post(
            form, eval_days="14", devices_max="3", when_devices_full="lock", session_idle_days="90"
        )
        assert "The rules are saved." in saved.text
        settings = (await api(served, ""))["settings"]
        assert (settings["eval_days"], settings["devices_max"]) == (14, 3)
        assert (settings["when_devices_full"], settings["session_idle_days"]) == ("lock", 90)
        assert settings["count_derived_devices"] is True
        await operator.post(undo_form(saved, "/settings/rules"))
    settings = (await api(served, ""))["settings"]
    assert (settings["eval_days"], settings["devices_max"]) == (30, 0)
    assert (settings["when_devices_full"], settings["count_derived_devices"]) == ("refuse", True)


@pytest.mark.parametrize("typed", ["-1", "3651", "many", "1.5"])
async def test_number_that_cannot_be_is_told_and_stays_typed(served: Served, typed: str) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(SETTINGS)).form("/settings/rules")
        refused = await operator.post(form, eval_days=typed)
        assert refused.status == 400
        assert "Days of a trial: write" in refused.text
        assert refused.form("/settings/rules").fields["eval_days"] == typed
    assert (await api(served, ""))["settings"]["eval_days"] == 30


async def test_name_hosts_owners_and_notices_are_changed(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(SETTINGS)
        await operator.post(page.form("/settings/owners"), email="grace@example.com")
        await operator.post(page.form("/settings/hosts"), host="auth.example.com")
        await operator.post(page.form("/settings/warning"), warn_days="9")
        noticed = await operator.post(page.form("/settings/notices"), message="We move.", days="7")
        assert "We move." in noticed.text
        app, notices = await api(served, ""), await api(served, "/notices")
        assert app["owners"] == ["grace@example.com", "owner@example.com"]
        assert app["hosts"] == ["auth.example.com"]
        assert notices["warn_days"] == 9
        (notice,) = notices["notices"]
        assert notice["until"] is not None
        await operator.post(noticed.form(f"/notices/{notice['notice_id']}/remove"))
        assert (await api(served, "/notices"))["notices"] == []
        removed = [each for each in noticed.forms if each.fields.get("email") == "grace@example.com"]
        await operator.post(removed[0])
        assert (await api(served, ""))["owners"] == ["owner@example.com"]
        page = await operator.get(SETTINGS)
        await operator.post(page.form("/settings/hosts/remove"))
        renamed = await operator.post(page.form("/settings/name"), name="journal")
        assert renamed.url.endswith("/manager/apps/journal/settings")
        assert "notes leads to it still" in renamed.text
        released = await operator.post(renamed.form("/names/release"))
        assert "notes leads nowhere now" in released.text
    answer = await served.ask("GET", "/api/apps/notes", headers=served.command())
    assert answer.status == 404


@pytest.mark.parametrize(
    ("form_end", "typed", "status", "says"),
    [
        ("/settings/owners", {"email": "nobody"}, 400, "The owners stay as they are"),
        ("/settings/hosts", {"host": "https://x"}, 400, "This was not saved"),
        ("/settings/name", {"name": "api"}, 400, "The name stays as it is"),
        ("/settings/seats", {"limit": "-4"}, 400, "Seats: write a number"),
        ("/settings/warning", {"warn_days": "900"}, 400, "write a number from 0 to 365"),
        ("/settings/notices", {"message": ""}, 400, "This was not saved"),
    ],
)
async def test_refusal_stands_in_its_section(
    served: Served, form_end: str, typed: dict[str, str], status: int, says: str
) -> None:
    await served.app()
    before = await api(served, "")
    async with signed_in(served) as operator:
        refused = await operator.post((await operator.get(SETTINGS)).form(form_end), **typed)
    assert refused.status == status
    assert says in refused.text
    assert refused.html.count('role="alert"') == 1
    assert await api(served, "") == before


async def test_who_may_not_change_apps_sees_no_forms_and_posts_in_vain(served: Served) -> None:
    await served.app()
    async with signed_in(served) as owner:
        forms = [each for each in (await owner.get(SETTINGS)).forms if "/settings/" in each.action]
    async with signed_in(served, "support") as operator:
        page = await operator.get(SETTINGS)
        assert page.status == 200
        assert "Save" not in page.text
        assert "Rename" not in page.text
        csrf = next(each.fields["csrf"] for each in page.forms if each.action.endswith("/theme"))
        for form in forms:
            refused = await operator.post(form, csrf=csrf)
            assert refused.status == 403, form.action
        create = FoundForm("/manager/create-app", {"name": "more", "owner": "a@b.org", "user_ids": "email"})
        assert (await operator.post(create, csrf=csrf)).status == 403
        assert "Create an app" not in (await operator.get("/apps")).text


async def test_many_apps_are_paged_by_name(served: Served) -> None:
    for number in range(52):
        await served.app(f"app-{number:02}")
    async with signed_in(served) as operator:
        first = await operator.get("/apps")
        second = await operator.get(first.links["Next"])
    assert "app-49" in first.links
    assert "app-50" not in first.links
    assert {"app-50", "app-51"} <= set(second.links)
    assert "Next" not in second.links
