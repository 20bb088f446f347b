"""Two operators who edit the same at once: nobody writes over what the other has saved without being told."""

from typing import Any

import pytest

from tests.contract.manager_pages import signed_in
from tests.contract.served import Served
from tests.contract.test_admin_api import api
from tests.contract.test_manager_endpoints import endpoint

HOOK = "https://hooks.example.com/admit"
MODEL = '[models.todo]\ntable = "todos"\nfields = {{ {} = "text" }}\n'
FORMS: dict[str, tuple[str, str, dict[str, str], dict[str, str], str]] = {
    "endpoint": (
        "endpoints/{id}/settings",
        "/settings",
        {"url": f"{HOOK}/a"},
        {"description": "B"},
        "endpoints/{id}",
    ),
    "provider": (
        "sign-in/providers/acme",
        "/providers/acme",
        {"client_id": "a"},
        {"display_name": "B"},
        "providers/acme",
    ),
    "mail": (
        "sign-in/mail",
        "/sign-in/mail",
        {"sender": "a@example.com"},
        {"sender": "b@example.com"},
        "mail",
    ),
    "mail texts": (
        "sign-in/mail-texts",
        "/mail-texts",
        {"subject": "A {{ otp }}"},
        {"text": "B {{ otp }}"},
        "templates",
    ),
    "model": ("model", "/model", {"source": MODEL.format("a")}, {"source": MODEL.format("b")}, "model"),
    "rules": ("settings", "/rules", {"eval_days": "11"}, {"devices_max": "12"}, ""),
    "seats": ("settings", "/seats", {"limit": "11"}, {"when_full": "eval"}, "seats"),
}


@pytest.mark.parametrize("what", FORMS)
async def test_a_form_that_shows_what_no_longer_holds_is_refused_once(served: Served, what: str) -> None:
    await served.app()
    path, action, by_one, by_other, stored = FORMS[what]
    endpoint_id = await endpoint(served, HOOK)
    provider: Any = {
        "name": "acme",
        "type": "oidc",
        "client_id": "x",
        "client_secret": "y",
        "issuer": "https://id.acme.com",
    }
    assert (await api(served, "POST", "apps/notes/providers", provider)).status in (200, 201)
    path, stored = path.format(id=endpoint_id), f"apps/notes/{stored.format(id=endpoint_id)}".rstrip("/")
    async with signed_in(served) as operator:
        first = (await operator.get(f"/apps/notes/{path}")).form(action)
        second = (await operator.get(f"/apps/notes/{path}")).form(action)
        assert (await operator.post(first, **by_one)).status == 200
        between = (await api(served, "GET", stored)).json
        refused = await operator.post(second, **by_other)
        assert refused.status == 409
        assert "Somebody else" in refused.text
        assert (await api(served, "GET", stored)).json == between
        kept = refused.form(action)
        assert kept.fields | by_other == kept.fields, "what was typed is kept"
        assert (await operator.post(kept)).status == 200
    assert (await api(served, "GET", stored)).json != between


async def test_what_an_undo_would_write_over_is_kept(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "data": {"plan": "free"}})
    page = "/apps/notes/people/ada@example.com"
    async with signed_in(served) as operator:
        changed = await operator.post((await operator.get(page)).form("/data"), data='{"plan": "team"}')
        undo = next(
            each
            for each in changed.forms
            if each.fields.get("data", "").replace(" ", "") == '{"plan":"free"}'
        )
        await served.write(app, {"userId": "ada@example.com", "data": {"plan": "gold"}})
        assert (await operator.post(undo)).status == 409
    assert (await api(served, "GET", "apps/notes/users/ada@example.com")).json["data"] == {"plan": "gold"}


async def test_an_undo_writes_over_no_object_that_was_changed_since(served: Served) -> None:
    await served.app()
    objects, page = "apps/notes/objects/todos", "/apps/notes/data/todos/t1?realm=rlm-public"
    stored = {"value": {"id": "t1", "title": "Tea"}, "realm_id": "rlm-public"}
    assert (await api(served, "POST", objects, stored)).status == 200
    async with signed_in(served) as operator:
        saved = await operator.post(
            (await operator.get(page)).form("/t1"), value='{"id": "t1", "title": "Milk"}'
        )
        undo = [each for each in saved.forms if "value" in each.fields][-1]
        await api(served, "PUT", f"{objects}/t1", stored | {"value": {"id": "t1", "title": "Salt"}})
        assert (await operator.post(undo)).status == 409
        assert "Salt" in (await operator.get(page)).form("/t1").fields["value"]
