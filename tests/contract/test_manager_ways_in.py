"""The page of the ways in, and that of enrollment links: what is open, and what is asked of the API."""

import pytest

from admit.operators.roles import Role
from tests.contract.manager_pages import signed_in
from tests.contract.served import Served

PAGE = "/apps/notes/sign-in"
LINKS = f"{PAGE}/links"


async def settings_of(served: Served) -> dict[str, object]:
    answer = await served.ask("GET", "/api/apps/notes", headers=served.command())
    found: dict[str, object] = answer.json["settings"]
    return found


async def test_ways_in_are_listed_with_what_they_need(served: Served) -> None:
    app = await served.app()
    await served.client(app)
    async with signed_in(served) as operator:
        page = await operator.get(PAGE)
    assert page.status == 200
    for words in ("Codes by mail", "Single sign-on", "A server of yours", "Enrollment links", "Demo users"):
        assert words in page.text
    assert "1 API client with the scope IMPERSONATE may say who somebody is." in page.text
    assert "npx dexie-cloud connect" in page.text
    assert "Owner is owner@example.com." in page.text
    assert page.links["Add a provider"] == "/manager/apps/notes/sign-in/new-provider"


async def test_mailed_codes_are_turned_off_and_on_again_by_undo(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(PAGE)
        off = await operator.post(page.form("/sign-in/codes"))
        assert "Mailed codes are off." in off.text
        assert "Nobody can sign in by themselves" in off.text
        assert (await settings_of(served))["mailed_codes"] is False
        undo = [each for each in off.forms if each.fields.get("mailed_codes") == "on"][-1]
        on = await operator.post(undo)
    assert "Mailed codes are on." in on.text
    assert (await settings_of(served))["mailed_codes"] is True


async def test_rules_are_saved_and_undone_without_touching_others(served: Served) -> None:
    await served.app()
    await served.ask("PUT", "/api/apps/notes/settings", headers=served.command(), json={"eval_days": 7})
    async with signed_in(served) as operator:
        form = (await operator.get(PAGE)).form("/sign-in/rules")
        saved = await operator.post(form, any_network="on")
        assert "The rules of signing in are saved." in saved.text
        now = await settings_of(served)
        assert (now["sso_any_network"], now["refuse_hopeless_at_step_1"], now["eval_days"]) == (
            True,
            False,
            7,
        )
        undo = next(
            each for each in saved.forms if "any_network" not in each.fields and "rules" in each.action
        )
        await operator.post(undo)
    assert (await settings_of(served))["sso_any_network"] is False


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_who_may_only_look_sees_no_button_and_changes_nothing(served: Served, role: Role) -> None:
    await served.app()
    async with signed_in(served) as owner:
        form = (await owner.get(PAGE)).form("/sign-in/codes")
    async with signed_in(served, role) as operator:
        page = await operator.get(PAGE)
        assert "Codes by mail" in page.text
        assert "Turn off" not in page.text
        form.fields["csrf"] = page.form("/theme").fields["csrf"]
        refused = await operator.post(form)
    assert refused.status == 403
    assert (await settings_of(served))["mailed_codes"] is True


async def test_link_is_made_for_a_person_and_shown_with_its_picture(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    async with signed_in(served) as operator:
        form = (await operator.get(f"{LINKS}?user=ada@example.com")).form("/sign-in/links")
        assert form.fields["user"] == "ada@example.com"
        made = await operator.post(form, uses="2", seconds="3600")
    assert made.status == 200
    assert "https://app.example.com/#enrollment_token=enr_" in made.text
    assert 'src="data:image/svg+xml' in made.html
    answer = await served.ask(
        "GET", "/api/apps/notes/users/ada@example.com/enrollment-tokens", headers=served.command()
    )
    [token] = answer.json["tokens"]
    assert (token["uses_max"], token["state"]) == (2, "active")
    assert token["expires_at"] - token["created_at"] == 3_600_000


@pytest.mark.parametrize(
    ("typed", "status", "sentence"),
    [
        ({"user": "nobody@example.com"}, 404, "There is no such user in this app."),
        ({"user": ""}, 400, "Whom is the link for? Type a user ID."),
        ({"user": "ada@example.com", "uses": "many"}, 400, "Devices: write a whole number, such as 30."),
        ({"user": "ada@example.com", "uses": "5000"}, 400, ""),
    ],
)
async def test_link_that_cannot_be_made_says_why_and_keeps_what_was_typed(
    served: Served, typed: dict[str, str], status: int, sentence: str
) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    async with signed_in(served) as operator:
        form = (await operator.get(LINKS)).form("/sign-in/links")
        refused = await operator.post(form, **typed)
    assert refused.status == status
    assert "No link was made" in refused.text
    assert sentence in refused.text
    assert refused.form("/sign-in/links").fields["user"] == typed["user"]


async def test_address_of_links_is_saved_refused_and_undone(served: Served) -> None:
    await served.app()
    address = "https://app.example.com/join#enrollment_token={token}"
    async with signed_in(served) as operator:
        form = (await operator.get(LINKS)).form("/links/address")
        saved = await operator.post(form, address=address)
        assert "The address of links is saved." in saved.text
        assert (await settings_of(served))["enrollment_link"] == address
        refused = await operator.post(form, address="https://elsewhere.example/#{token}")
        assert refused.status == 400
        assert "leads to an origin of the app" in refused.text
        undo = next(each for each in saved.forms if each.fields.get("address") == "")
        await operator.post(undo)
    assert (await settings_of(served))["enrollment_link"] == ""


async def test_support_makes_links_and_does_not_move_them(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    async with signed_in(served, "support") as operator:
        page = await operator.get(LINKS)
        assert "Make the link" in page.text
        assert "Save the address" not in page.text
        refused = await operator.post(page.form("/links/address"), address="notes://join/{token}")
    assert refused.status == 403
    assert (await settings_of(served))["enrollment_link"] == ""
