"""The pages of what has a secret of its own: API clients with the allowed origins, and operator tokens."""

from typing import Any

import pytest

from tests.contract.manager_pages import FoundForm, signed_in
from tests.contract.served import ORIGIN, Served

CLIENTS = "/apps/notes/clients"


async def api(served: Served, path: str) -> Any:
    answer = await served.ask("GET", f"/api/{path}", headers=served.command())
    assert answer.status == 200
    return answer.json


async def test_client_is_made_shown_once_rotated_and_revoked(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(CLIENTS)
        assert "No program has a secret yet" in page.text
        made = await operator.post(page.form("/clients/create"), owner="grace@example.com")
        (client,) = await api(served, "apps/notes/clients")
        client_id = client["client_id"]
        assert (client["scopes"], client["owner"]) == (["ACCESS_DB"], "grace@example.com")
        assert "Keep this secret now" in made.text
        secret = made.text.partition("Client secret ")[2].split()[0]
        assert len(secret) > 30
        again = await operator.get(CLIENTS)
        assert secret not in again.html
        rotated = await operator.post(again.form(f"/{client_id}/rotate"))
        assert "Keep this secret now" in rotated.text
        assert secret not in rotated.html
        revoked = await operator.post(rotated.form(f"/{client_id}/revoke"))
        assert f"{client_id} is revoked" in revoked.text
    assert await api(served, "apps/notes/clients") == []
    changes = repr(await api(served, "apps/notes/changes")) + made.html
    assert secret in changes  # in the page alone
    assert secret not in repr(await api(served, "apps/notes/changes"))


async def test_client_without_scopes_is_refused(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(CLIENTS)).form("/clients/create")
        del form.fields["scope"]
        refused = await operator.post(form, owner="grace@example.com")
    assert refused.status == 400
    assert "A client without scopes can do nothing" in refused.text
    assert refused.form("/clients/create").fields["owner"] == "grace@example.com"
    assert await api(served, "apps/notes/clients") == []


async def test_origin_is_allowed_and_disallowed_with_a_way_back(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(CLIENTS)
        allowed = await operator.post(page.form("/origins/allow"), origin="https://more.example.com")
        assert "Pages of https://more.example.com may call now." in allowed.text
        assert (await api(served, "apps/notes/origins"))["origins"] == [ORIGIN, "https://more.example.com"]
        [gone] = [each for each in allowed.forms if each.fields.get("origin") == ORIGIN]
        shown = await operator.post(gone)
        assert (await api(served, "apps/notes/origins"))["origins"] == ["https://more.example.com"]
        [back] = [
            each
            for each in shown.forms
            if each.action.endswith("/origins/allow") and each.fields["origin"] == ORIGIN
        ]
        await operator.post(back)
    assert (await api(served, "apps/notes/origins"))["origins"] == [ORIGIN, "https://more.example.com"]


@pytest.mark.parametrize("origin", ["app.example.com", "https://*.example.com", "https://a.example/path", ""])
async def test_wrong_origin_is_told_at_its_field(served: Served, origin: str) -> None:
    await served.app()
    async with signed_in(served) as operator:
        refused = await operator.post((await operator.get(CLIENTS)).form("/origins/allow"), origin=origin)
    assert refused.status == 400
    assert 'id="origin-wrong"' in refused.html
    assert refused.form("/origins/allow").fields["origin"] == origin
    assert (await api(served, "apps/notes/origins"))["origins"] == [ORIGIN]


async def test_support_makes_no_client(served: Served) -> None:
    app = await served.app()
    made = await served.client(app)
    async with signed_in(served, "support") as operator:
        page = await operator.get(CLIENTS)
        assert made.client_id in page.text
        assert "Revoke" not in page.text
        csrf = page.form("/theme").fields["csrf"]
        for path in ("create", f"{made.client_id}/rotate", f"{made.client_id}/revoke", "origins/disallow"):
            form = FoundForm(f"/manager{CLIENTS}/{path}", {"scope": "ACCESS_DB", "origin": ORIGIN})
            assert (await operator.post(form, csrf=csrf)).status == 403
    assert len(await api(served, "apps/notes/clients")) == 1


async def test_token_is_made_shown_once_and_revoked(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get("/tokens")
        assert "No token works" in page.text
        made = await operator.post(page.form("/tokens/create"), label="Deploy", app="notes", ends="30")
        token = made.text.partition("ADMIT_TOKEN=")[2].split()[0]
        answer = await served.ask("GET", "/api/apps/notes", headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 200
        (known,) = await api(served, "tokens")
        assert (known["label"], known["app"], known["scopes"]) == ("Deploy", "notes", ["apps:read"])
        assert known["expires_at"] - known["created_at"] == 30 * 86_400_000
        again = await operator.get("/tokens")
        assert token not in again.html
        revoked = await operator.post(again.form("/revoke"))
        assert "The token is revoked." in revoked.text
        assert "1 token that has ended" in revoked.text
    answer = await served.ask("GET", "/api/apps/notes", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 401


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"label": "Deploy", "scope": "root"}, "needs scopes out of"),
        ({"label": "x" * 101}, "A label is one line"),
        ({"label": "Deploy", "ends": "soon"}, "Choose when the token ends."),
    ],
)
async def test_wrong_token_is_told(served: Served, typed: dict[str, str], says: str) -> None:
    async with signed_in(served) as operator:
        refused = await operator.post((await operator.get("/tokens")).form("/tokens/create"), **typed)
    assert refused.status == 400
    assert says in refused.text
    assert refused.form("/tokens/create").fields["label"] == typed["label"]
    assert await api(served, "tokens") == []


async def test_token_of_an_admin_reaches_no_further_than_they_do(served: Served) -> None:
    async with signed_in(served, "admin") as operator:
        page = await operator.get("/tokens")
        assert 'value="operators:write"' not in page.html
        form = page.form("/tokens/create")
        refused = await operator.post(form, label="more", scope="operators:write")
    assert refused.status == 403
    assert await api(served, "tokens") == []


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_tokens_are_not_for_everybody(served: Served, role: str) -> None:
    async with signed_in(served, role) as operator:  # type: ignore[arg-type]
        assert (await operator.get("/tokens")).status == 403
