"""The overview page, and what the palette finds."""

from typing import Any

import pytest
from sqlalchemy import update

from admit.storage.transaction import Transaction
from admit.webhooks.tables import endpoints
from tests.contract.manager_pages import Operator, signed_in
from tests.contract.served import Served
from tests.contract.token_desk import signed_in as person_signed_in
from tests.receiver import PROD, always, receiving

HOME = "/apps/notes"


async def test_new_app_shows_its_first_steps(served: Served) -> None:
    await served.app(origins=())
    async with signed_in(served) as operator:
        page = await operator.get(HOME)
    assert page.status == 200
    assert "notes is ready" in page.text
    assert page.links["Allow an origin"] == "/manager/apps/notes/clients"
    assert page.links["Choose the policy"] == "/manager/apps/notes/policy"
    assert page.links["Add a web hook"] == "/manager/apps/notes/endpoints/new"
    assert "Nothing has happened yet." in page.text
    assert "Needs attention" not in page.text
    assert "/notes', requireAuth: true })" in page.text


async def test_steps_that_were_taken_are_done(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(HOME)
    assert "Let your web app call this server (done)" in page.text
    assert "Allow an origin" not in page.links


async def test_who_may_only_read_is_not_offered_to_change(served: Served) -> None:
    await served.app(origins=())
    async with signed_in(served, "read-only") as operator:
        page = await operator.get(HOME)
    assert page.status == 200
    assert not {"Allow an origin", "Add a web hook", "Create person"} & page.links.keys()


async def test_figures_are_shown_with_their_finding(served: Served) -> None:
    await served.app()
    async with receiving(always(**PROD)) as hook:
        body = {"kind": "webhook", "url": hook.url}
        headers = served.command()
        assert (await served.ask("PUT", "/api/apps/notes/policy", headers=headers, json=body)).status == 200
        await person_signed_in(served, "ada@example.com")
    async with signed_in(served, "support") as operator:
        week, day = await operator.get(HOME), await operator.get(f"{HOME}?days=1")
    assert "1 admitted in 7 days. Most came on" in week.text
    assert "1 admitted in 24 hours. Most came at" in day.text
    assert "First logins by the hour" in day.text
    assert "Answering" in week.text
    assert "Half of the answers came within" in week.text
    assert week.links["user.enrolled"].startswith("/manager/apps/notes/events/evt_")
    assert week.links["ada@example.com"] == "/manager/apps/notes/people/ada%40example.com"
    assert "admit app overview notes --days 1" in day.text
    assert "admit app overview notes" in week.text
    assert "--days" not in week.text


async def test_what_needs_attention_leads_to_where_it_is_mended(served: Served) -> None:
    app = await served.app(origins=())
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    made = await served.ask(
        "POST",
        "/api/apps/notes/endpoints",
        headers=served.command(),
        json={"url": "https://example.com/hook", "description": "CRM <b>"},
    )
    since = served.hands() - 3_600_000

    def fail(tx: Transaction) -> int:
        return tx.execute(update(endpoints).values(failing_since=since)).rowcount

    await served.gateway.db.write(fail)
    async with signed_in(served) as operator:
        page = await operator.get(HOME)
    assert "Needs attention 2" in page.text
    assert "Web hook “CRM <b>” has been failing since" in page.text
    assert "CRM &lt;b&gt;" in page.html
    assert page.links["See the attempts"] == f"/manager/apps/notes/endpoints/{made.json['id']}"
    assert "No web page may call this app yet" in page.text


@pytest.mark.parametrize("days", ["2", "0", "x", "-1"])
async def test_period_that_is_none_is_refused(served: Served, days: str) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(f"{HOME}?days={days}")
    assert page.status == 400
    assert "The overview looks back 1, 7 or 28 days." in page.text


async def found(operator: Operator, words: str) -> dict[str, list[dict[str, Any]]]:
    async with operator.http.get(operator._address(f"{HOME}/jump"), params={"q": words}) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        return {group["name"]: group["hits"] for group in (await answer.json())["groups"]}


async def test_people_are_found_by_how_they_begin(served: Served) -> None:
    app = await served.app()
    await served.write(
        app,
        {"userId": "ada@example.com", "type": "prod", "data": {"displayName": "Ada Lindqvist"}},
        {"userId": "bob@example.com", "type": "eval"},
    )
    async with signed_in(served) as operator:
        [hit] = (await found(operator, "ad"))["People"]
        assert hit["label"] == "ada@example.com"
        assert hit["url"] == "/manager/apps/notes/people/ada%40example.com"
        assert hit["icon"].endswith("/icons.svg#people")
        assert await found(operator, "nobody") == {}
        assert await found(operator, "") == {}


async def test_things_are_found_by_their_ids(served: Served) -> None:
    app = await served.app()
    await served.ask(
        "POST",
        "/api/apps/notes/endpoints",
        headers=served.command(),
        json={"url": "https://example.com/hook"},
    )
    await person_signed_in(served, "ada@example.com")
    headers = served.command()
    feed = (await served.ask("GET", "/api/apps/notes/events", headers=headers)).json["events"]
    enrolled = next(each for each in feed if each["type"] == "user.enrolled")
    deliveries = (await served.ask("GET", "/api/apps/notes/deliveries", headers=headers)).json["deliveries"]
    ids = {
        "Event": enrolled["id"],
        "Session": enrolled["data"]["session"]["id"],
        "Decision": enrolled["data"]["verdict"]["admission_id"],
        "Delivery": deliveries[0]["id"],
        "Web hook": deliveries[0]["endpoint"],
    }
    assert app.name == "notes"
    async with signed_in(served) as operator:
        for name, each in ids.items():
            hits = await found(operator, each)
            assert list(hits) == [name], (name, each)
        assert await found(operator, "evt_nothing") == {}
        assert await found(operator, "evt_" + "x" * 500) == {}
        assert await found(operator, "%_\\'\"") == {}


async def test_palette_of_no_app_says_so(served: Served) -> None:
    async with signed_in(served) as operator:
        assert (await operator.get("/apps/nobody/jump?q=a")).status == 404


async def test_what_a_role_may_not_see_is_not_found(served: Served) -> None:
    await served.app()
    headers = served.command()
    await served.ask("PUT", "/api/apps/notes/policy", headers=headers, json={"kind": "prod"})
    changes = (await served.ask("GET", "/api/apps/notes/changes", headers=headers)).json["changes"]
    change_id = changes[0]["change_id"]
    async with signed_in(served) as operator:
        assert list(await found(operator, change_id)) == ["Change"]
    async with signed_in(served, "support") as operator:
        assert await found(operator, change_id) == {}


async def test_side_counts_what_needs_attention_where_it_is_mended(served: Served) -> None:
    app = await served.app(origins=())
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    await served.ask("PUT", "/api/apps/notes/seats", headers=served.command(), json={"limit": 1})
    async with signed_in(served, "read-only") as operator:
        page = await operator.get(HOME)
        assert 'data-badges="/manager/apps/notes/badges"' in page.html
        async with operator.http.get(operator._address(f"{HOME}/badges")) as answer:
            told = await answer.json()
    assert told == {
        "settings": {"number": 1, "urgent": True},
        "clients": {"number": 1, "urgent": False},
    }
    assert all(f'data-nav="{name}"' in page.html for name in told)
