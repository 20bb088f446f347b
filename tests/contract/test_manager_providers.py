"""The pages of providers: added by type, changed field by field, examined, removed; no secret is shown."""

from typing import Any

import pytest

from tests.contract.manager_pages import Operator, Shown, signed_in
from tests.contract.served import Served
from tests.hostile_provider import CLIENT_ID, CLIENT_SECRET, hostile_provider

PAGE = "/apps/notes/sign-in/providers"
NEW = "/apps/notes/sign-in/new-provider"
SECRET = "the-secret-of-google-0123456789"
GOOGLE = {"client_id": "1234.apps.googleusercontent.com", "client_secret": SECRET}


async def in_force(served: Served, name: str = "google") -> dict[str, Any]:
    answer = await served.ask("GET", f"/api/apps/notes/providers/{name}", headers=served.command())
    found: dict[str, Any] = answer.json
    return found


async def added(operator: Operator, kind: str, **typed: str) -> Shown:
    """The form of a new provider, sent with `typed`."""
    return await operator.post((await operator.get(f"{NEW}?type={kind}")).form("/new-provider"), **typed)


async def changed(operator: Operator, name: str = "google", **typed: str) -> Shown:
    """The form of a provider, sent with `typed`."""
    return await operator.post((await operator.get(f"{PAGE}/{name}")).form(f"/providers/{name}"), **typed)


async def test_empty_list_teaches_the_next_step(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(PAGE)
        types = await operator.get(page.links["Add a provider"])
    assert "No provider yet" in page.text
    for name in ("Google", "Microsoft", "GitHub", "Apple", "OpenID Connect", "OAuth 2.0"):
        assert name in types.text


async def test_google_is_added_with_what_its_type_presets(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        new = await operator.get(f"{NEW}?type=google")
        assert "/notes/oauth/callback/google" in new.text
        page = await added(operator, "google", **GOOGLE)
        listed = await operator.get(PAGE)
    assert "Google is added. Register the redirect address there, then test it." in page.text
    assert page.url.endswith("/sign-in/providers/google")
    found = await in_force(served)
    assert found["callback_url"] in page.text
    assert (found["issuer"], found["trusted_domains"]) == (
        "https://accounts.google.com",
        ["gmail.com", "googlemail.com", "hd"],
    )
    assert found["has_secret"]
    assert SECRET not in page.html + listed.html
    assert "gmail.com, googlemail.com, Workspace domains" in listed.text


async def test_any_openid_provider_is_added_by_its_issuer(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        typed = {
            "name": "acme",
            "issuer": "https://id.acme.org",
            "client_id": "notes",
            "public": "on",
            "trusted_domains": "acme.org, acme.example\r\nstaff.acme.org",
            "claims": "groups = groups\r\nroles=realm_access.roles",
            "scopes": "openid email groups",
        }
        page = await added(operator, "oidc", **typed)
    assert page.status == 200
    found = await in_force(served, "acme")
    assert found["trusted_domains"] == ["acme.org", "acme.example", "staff.acme.org"]
    assert found["claims"] == {"groups": "groups", "roles": "realm_access.roles"}
    assert found["scopes"] == ["openid", "email", "groups"]
    assert found["has_secret"] is False
    form = page.form("/providers/acme").fields
    assert form["claims"] == "groups = groups\nroles = realm_access.roles"
    assert form["public"] == "on"


@pytest.mark.parametrize(
    ("kind", "typed", "status", "sentence", "field"),
    [
        ("oidc", {"client_id": "notes", "public": "on"}, 400, "needs an issuer", "issuer"),
        ("google", {"client_id": "1234"}, 400, "client_secret", "client_secret"),
        ("google", GOOGLE | {"name": "Über"}, 400, "cannot name a provider", ""),
        ("google", GOOGLE | {"name": "email"}, 400, "means another way in", ""),
        ("google", GOOGLE | {"claims": "groups"}, 400, "claims, line 1: write a name", "claims"),
        ("google", GOOGLE | {"trusted_domains": "not a domain!"}, 400, "domain", ""),
        ("oidc", {"client_id": "n", "issuer": "http://10.0.0.7", "public": "on"}, 400, "10.0.0.7", "issuer"),
        ("google", GOOGLE | {"person": "anybody"}, 400, "cannot be used", ""),
        ("google", GOOGLE | {"public": "on"}, 400, "Leave one of the two empty", "client_secret"),
        ("carrier-pigeon", {}, 400, "Choose the type of the provider.", ""),
    ],
)
async def test_provider_that_cannot_be_is_refused_in_its_place(
    served: Served, kind: str, typed: dict[str, str], status: int, sentence: str, field: str
) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(f"{NEW}?type={kind if kind != 'carrier-pigeon' else 'oidc'}")).form(
            "/new-provider"
        )
        refused = await operator.post(form, type=kind, **typed)
        listed = await operator.get(PAGE)
    assert refused.status == status
    assert sentence in refused.text
    assert SECRET not in refused.html
    if field:
        assert f'id="{field}-wrong"' in refused.html
    if kind in ("google", "oidc"):
        assert refused.form("/new-provider").fields["client_id"] == typed["client_id"]
    assert "No provider yet" in listed.text


async def test_second_of_the_same_name_is_refused(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        await added(operator, "google", **GOOGLE)
        refused = await added(operator, "google", **GOOGLE)
    assert refused.status == 409
    assert "There is a provider 'google' already." in refused.text


async def test_only_what_is_different_is_changed(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        await added(operator, "google", **GOOGLE)
        same = await changed(operator)
        assert "Nothing was different." in same.text
        before = await in_force(served)
        page = await changed(operator, display_name="Our Google", trusted_domains="")
    assert "Our Google" in page.text
    assert "It is believed about no email address, so nobody new comes in by it." in page.text
    expected = before | {"display_name": "Our Google", "trusted_domains": []}
    assert await in_force(served) == expected


async def test_emptied_field_is_what_the_type_presets(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        await added(operator, "google", **GOOGLE)
        await changed(operator, display_name="Our Google", scopes="openid email")
        await changed(operator, display_name="", scopes="")
    found = await in_force(served)
    assert (found["display_name"], found["scopes"]) == ("Google", ["openid", "email", "profile"])


async def test_secret_does_not_go_elsewhere_unless_it_is_typed_again(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        await added(operator, "google", **GOOGLE)
        refused = await changed(operator, issuer="https://id.example.com")
        assert refused.status == 400
        assert "the client_secret goes elsewhere, so give it, too" in refused.text
        assert refused.form("/providers/google").fields["issuer"] == "https://id.example.com"
        assert (await in_force(served))["issuer"] == "https://accounts.google.com"
        await changed(operator, issuer="https://id.example.com", client_secret=SECRET)
    assert (await in_force(served))["issuer"] == "https://id.example.com"


async def test_examination_shows_each_step(served: Served) -> None:
    await served.app()
    async with hostile_provider() as op, signed_in(served) as operator:
        typed = {"name": "house", "issuer": op.base, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        page = await added(operator, "oidc", **typed, trusted_domains="example.com")
        assert page.status == 200, page.text
        found = await operator.post(page.form("/house/test"))
        assert "Verified emails lead to people, for example.com." in found.text
        assert f"Its issuer is {op.base}." in found.text
    assert "People can sign in by house" in found.text


async def test_examination_says_what_is_wrong(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        typed = {"name": "house", "issuer": "http://127.0.0.1:1", "client_id": "notes", "public": "on"}
        page = await added(operator, "oidc", **typed)
        found = await operator.post(page.form("/house/test"))
    assert "the provider is trusted about no domain" in found.text
    assert "There is no connection to 127.0.0.1" in found.text
    assert "People cannot sign in yet" in found.text


async def test_provider_is_removed(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await added(operator, "google", **GOOGLE)
        assert "Nobody signs in by Google any more." in page.text
        page = await operator.post(page.form("/google/remove"))
        assert "Google is removed." in page.text
        gone = await operator.get(f"{PAGE}/google")
    assert gone.status == 404
    assert (await served.ask("GET", "/api/apps/notes/providers", headers=served.command())).json == []


async def test_who_may_only_look_changes_nothing(served: Served) -> None:
    await served.app()
    async with signed_in(served) as owner:
        await added(owner, "google", **GOOGLE)
    before = await in_force(served)
    async with signed_in(served, "read-only") as operator:
        page = await operator.get(f"{PAGE}/google")
        assert page.status == 200
        for button in ("Save the provider", "Test it now", "Remove"):
            assert button not in page.text
        form = page.form("/providers/google")
        answers = [
            await operator.post(form, display_name="Mine"),
            await operator.send(f"{form.action}/remove", {"csrf": form.fields["csrf"]}),
        ]
    assert [each.status for each in answers] == [403, 403]
    assert await in_force(served) == before
