"""The pages of web hooks: a new one, how it is doing, its settings, its secret, and telling it once more."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.manager_pages import FoundForm, Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_admin_api import api
from tests.contract.token_desk import signed_in as enrolled
from tests.receiver import always, receiving

LIST = "/apps/notes/endpoints"


async def endpoint(served: Served, url: str, **settings: Any) -> str:
    made = await api(served, "POST", "apps/notes/endpoints", {"url": url, **settings})
    assert made.status == 200, made.body
    told: str = made.json["id"]
    return told


async def of(served: Served, endpoint_id: str) -> Any:
    return (await api(served, "GET", f"apps/notes/endpoints/{endpoint_id}")).json


async def until(operator: Operator, path: str, wanted: Callable[[Shown], bool]) -> Shown:
    """The page once `wanted` holds of it."""
    async with asyncio.timeout(20):
        while not wanted(page := await operator.get(path)):
            assert page.status == 200, page.text
            await asyncio.sleep(0.02)
    return page


async def test_app_without_web_hooks_teaches_what_they_are(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(LIST)
    assert "Nobody is told yet" in page.text
    assert page.links["Add a web hook"] == "/manager/apps/notes/endpoints/new"
    assert "admit listen notes" in page.text


async def test_new_web_hook_is_made_as_the_form_says_and_shows_its_secret_once(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(f"{LIST}/new")).form("/endpoints")
        made = await operator.post(
            form,
            url="http://127.0.0.1:9100/hooks",
            description="CRM",
            told_of="some",
            events="user.enrolled",
            format="full",
            once="user",
            user_types="prod",
            methods="email_code",
            email_domains="example.com, example.org",
            equals="user.data.plan = team\nuser.data.seats = 3",
            headers="X-Team: crm\nAuthorization: Bearer very-secret",
            at_once_max="4",
            per_minute="1,000",
            retry_delays="5 s, 30 min, 2 h",
        )
        listed = await operator.get(LIST)
        shown = await operator.get(listed.links["CRM"])

    [told] = (await api(served, "GET", "apps/notes/endpoints")).json["endpoints"]
    assert told["url"] == "http://127.0.0.1:9100/hooks"
    assert told["events"] == ["user.enrolled"]
    assert (told["format"], told["once"]) == ("full", "user")
    assert told["filter"]["user_types"] == ["prod"]
    assert told["filter"]["methods"] == ["email_code"]
    assert told["filter"]["email_domains"] == ["example.com", "example.org"]
    assert told["filter"]["equals"] == [
        {"path": ["user", "data", "plan"], "value": "team"},
        {"path": ["user", "data", "seats"], "value": 3},
    ]
    assert told["headers"] == ["authorization", "x-team"]
    assert (told["at_once_max"], told["per_minute"]) == (4, 1_000)
    assert told["retry_delays"] == [5, 1_800, 7_200]
    assert made.status == 200
    assert "whsec_" in made.text
    assert "standardwebhooks" in made.text
    assert "whsec_" not in listed.html + shown.html
    assert "people of the type prod; by a code by mail; emails at example.com or example.org" in listed.text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"url": "ftp://crm.example.com"}, "http"),
        ({"told_of": "some"}, "Choose at least one type of event, or every event."),
        ({"told_of": "elsewhere"}, "Choose what the endpoint is told of."),
        ({"equals": "plan"}, "“plan” is no condition."),
        ({"headers": "Authorization"}, "Header 1: write a name, a colon and a value"),
        ({"headers": "webhook-id: x"}, "is set by the server itself"),
        ({"per_minute": "many"}, "Per minute: write a whole number"),
        ({"per_minute": "0"}, "per_minute is a whole number from 1"),
        ({"retry_delays": "soon"}, "“soon” is no pause."),
        ({"retry_delays": "90 d"}, "Each is from 1 second to 7 days."),
        ({"told_of": "changes", "changes": "todos:burn"}, "“todos:burn” is no filter."),
        ({"secret": "whsec_short"}, "secret"),
    ],
)
async def test_form_that_cannot_be_is_shown_again_with_the_reason_and_what_was_typed(
    served: Served, typed: dict[str, str], sentence: str
) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(f"{LIST}/new")).form("/endpoints")
        fields = {"url": "http://127.0.0.1:9100/", "description": "Mine"} | typed
        refused = await operator.post(form, **fields)
    assert refused.status == 400
    assert sentence in refused.text
    assert refused.form("/endpoints").fields["description"] == "Mine"
    assert (await api(served, "GET", "apps/notes/endpoints")).json["endpoints"] == []


async def test_change_hook_is_made_with_its_filters(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(f"{LIST}/new?table=todos")).form("/endpoints")
        assert (form.fields["told_of"], form.fields["changes"]) == ("changes", "todos")
        await operator.post(form, url="http://127.0.0.1:9100/", changes="todos:upsert,update:title\nlists")
        listed = await operator.get(LIST)
        settings = await operator.get(listed.links["127.0.0.1:9100"] + "/settings")
    [told] = (await api(served, "GET", "apps/notes/endpoints")).json["endpoints"]
    assert told["format"] == "dexie"
    assert told["filter"]["changes"] == [
        {"table": "todos", "operations": ["upsert", "update"], "properties": ["title"]},
        {"table": "lists", "operations": [], "properties": []},
    ]
    assert "changes of todos:upsert,update:title; changes of lists" in listed.text
    assert settings.form("/settings").fields["changes"] == "todos:upsert,update:title\nlists"


async def test_settings_are_changed_and_headers_stay_unless_they_are_typed(served: Served) -> None:
    await served.app()
    told = await endpoint(
        served, "http://127.0.0.1:9100/", events=["user.enrolled"], headers={"X-Key": "very-secret"}
    )
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/settings")
        assert "very-secret" not in page.html
        assert "Set now: x-key" in page.text
        saved = await operator.post(page.form("/settings"), description="CRM", told_of="every")
        assert "The settings of “CRM” are saved." in saved.text
        first = await of(served, told)
        again = (await operator.get(f"{LIST}/{told}/settings")).form("/settings")
        await operator.post(again, no_headers="on")
        refused = await operator.post(again, url="nonsense")
    assert (first["description"], first["events"], first["headers"]) == ("CRM", [], ["x-key"])
    assert (await of(served, told))["headers"] == []
    assert refused.status == 400
    assert refused.form("/settings").fields["url"] == "nonsense"


async def test_endpoint_is_paused_and_enabled_by_the_toast(served: Served) -> None:
    await served.app()
    told = await endpoint(served, "http://127.0.0.1:9100/", description="CRM")
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}")
        paused = await operator.post(page.form("/state"))
        assert "“CRM” is paused. What it misses is told later." in paused.text
        assert (await of(served, told))["state"] == "paused"
        assert "This web hook is paused" in paused.text
        undo = next(form for form in paused.forms if form.fields.get("state") == "enabled")
        enabled = await operator.post(undo)
        assert "“CRM” is enabled." in enabled.text
    assert (await of(served, told))["state"] == "enabled"


async def test_endpoint_is_deleted(served: Served) -> None:
    await served.app()
    told = await endpoint(served, "http://127.0.0.1:9100/", description="CRM")
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/settings")
        gone = await operator.post(page.form("/delete"))
        assert "“CRM” is deleted." in gone.text
        assert (await operator.get(f"{LIST}/{told}")).status == 404
    assert (await api(served, "GET", "apps/notes/endpoints")).json["endpoints"] == []


async def test_new_secret_is_shown_once_and_the_former_signs_until_its_end(served: Served) -> None:
    await served.app()
    told = await endpoint(served, "http://127.0.0.1:9100/")
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/secret")
        made = await operator.post(page.form("/secret"), overlap="3600")
        after = await operator.get(f"{LIST}/{told}/secret")
        refused = await operator.post(page.form("/secret"), secret="short")
    secrets = (await of(served, told))["secrets"]
    assert "whsec_" in made.text
    assert "whsec_" not in after.html.replace("whsec_ and", "")
    assert len(secrets) == 2
    assert "Former signs until" in after.text
    ends = [each["ends_at"] for each in secrets if each["ends_at"] is not None]
    assert 0 < ends[0] - served.hands() <= 3_600_000
    assert refused.status == 400


async def test_test_shows_request_address_and_answer(served: Served) -> None:
    await served.app()
    async with receiving(always(headers={"X-Request-Id": "req-7"}, hello="there")) as receiver:
        told = await endpoint(served, receiver.url, headers={"X-Key": "very-secret"})
        async with signed_in(served) as operator:
            page = await operator.get(f"{LIST}/{told}/test")
            tried = await operator.post(page.form("/test"), type="user.enrolled")
            wrong = await operator.post(page.form("/test"), type="user.enroled")
        assert "The web hook accepted the test" in tried.text
        assert "127.0.0.1" in tried.text
        assert "webhook-signature" in tried.text
        assert "x-request-id: req-7" in tried.text
        assert '"hello" : "there"' in tried.text
        assert receiver.calls[0].json["type"] == "user.enrolled"
    assert wrong.status == 400
    assert "Is 'user.enrolled' meant?" in wrong.text


async def test_support_is_not_shown_secrets_by_a_test(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        told = await endpoint(served, receiver.url, headers={"X-Key": "very-secret"})
        changes = await endpoint(served, receiver.url, format="dexie")
        async with signed_in(served, "support") as operator:
            thin = await operator.post((await operator.get(f"{LIST}/{told}/test")).form("/test"))
            dexie = await operator.post((await operator.get(f"{LIST}/{changes}/test")).form("/test"))
            secret = await operator.get(f"{LIST}/{told}/secret")
        assert receiver.calls[0].headers["x-key"] == "very-secret"
        assert receiver.calls[1].headers["x-dexiecloud-token"].startswith("whsec_")
    assert "x-key: …" in thin.text
    assert "very-secret" not in thin.html
    assert "X-DexieCloud-Token: …" in dexie.text
    assert "whsec_" not in dexie.html
    assert not [form for form in secret.forms if form.action.endswith("/secret")]


async def test_failing_endpoint_says_what_follows_and_a_delivery_is_retried(served: Served) -> None:
    await served.app()
    async with receiving(always(500)) as receiver:
        told = await endpoint(served, receiver.url, events=["user.enrolled"], description="CRM")
        assert (await enrolled(served, "ada@example.com")).status == 200
        async with signed_in(served) as operator:
            page = await until(
                operator, f"{LIST}/{told}", lambda page: "Nothing has arrived since" in page.text
            )
            assert "1 delivery waits and is tried again by itself" in page.text
            assert "ada@example.com" in page.links
            assert "1 attempt in 24 hours" in page.html or "attempts in 24 hours" in page.html
            listed = await operator.get(LIST)
            delivery = await operator.get(page.links["user.enrolled"])
            assert "It answered 500" in delivery.text
            receiver.script = always(200)
            again = await operator.post(delivery.form("/retry"))
            assert "It is tried again now." in again.text
            arrived = await until(operator, delivery.url, lambda page: "Delivered" in page.text)
    assert "Failing" in listed.text
    assert "Attempt 2" in arrived.text
    assert "webhook-timestamp" in arrived.text


async def test_delivery_under_way_is_followed_to_its_end(served: Served) -> None:
    await served.app()
    async with receiving(always(200), held=True) as receiver:
        await endpoint(served, receiver.url, events=["user.enrolled"])
        assert (await enrolled(served, "ada@example.com")).status == 200
        async with signed_in(served) as operator:
            listed = await until(operator, "/apps/notes/deliveries", lambda page: "On its way" in page.text)
            page = await operator.get(listed.links["user.enrolled"])
            [followed] = re.findall(r'hx-get="([^"]+)" hx-trigger="every 1s"', page.html)
            quiet = await operator.fragment(followed)
            assert (quiet.status, quiet.html) == (204, "")
            receiver.gate.set()
            while (news := await operator.fragment(followed)).status == 204:
                await asyncio.sleep(0.02)
    assert news.status == 200
    assert "Attempt 1" in news.html
    assert "hx-trigger" not in news.html
    assert "<html" not in news.html


async def test_backfill_is_begun_and_its_progress_asked_for(served: Served) -> None:
    app = await served.app()
    await served.write(app, *({"userId": f"u{number}@example.com", "type": "prod"} for number in range(3)))
    async with receiving(always()) as receiver:
        told = await endpoint(served, receiver.url, events=["user.enrolled"])
        async with signed_in(served) as operator:
            page = await operator.get(f"{LIST}/{told}/again")
            form = next(each for each in page.forms if each.fields.get("kind") == "backfill")
            begun = await operator.post(form, of="user")
            assert "Backfill of every person" in begun.text
            done = await until(operator, f"{LIST}/{told}/again", lambda page: "Done" in page.text)
            assert "3 of 3 looked at, 3 deliveries" in done.text
            [campaign] = (await api(served, "GET", "apps/notes/campaigns")).json["campaigns"]
            fragment = await operator.fragment(f"/apps/notes/campaigns/{campaign['id']}")
    assert fragment.html.strip().startswith(f'<tr id="{campaign["id"]}"')
    assert "hx-trigger" not in fragment.html
    assert "<html" not in fragment.html


async def test_campaign_is_cancelled(served: Served) -> None:
    app = await served.app()
    await served.write(app, *({"userId": f"u{number}@example.com", "type": "prod"} for number in range(3)))
    told = await endpoint(served, "http://127.0.0.1:9100/")
    state = await api(served, "PUT", f"apps/notes/endpoints/{told}/state", {"state": "paused"})
    assert state.status == 200
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/again")
        form = next(each for each in page.forms if each.fields.get("kind") == "backfill")
        begun = await operator.post(form)
        assert "Waits until the web hook is enabled" in begun.text
        rival = await operator.post(form)
        assert rival.status == 409
        assert "still running" in rival.text
        ended = await operator.post(begun.form("/cancel"))
    assert "is cancelled" in ended.text
    [campaign] = (await api(served, "GET", "apps/notes/campaigns")).json["campaigns"]
    assert campaign["state"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "typed", "sentence"),
    [
        ("replay", {"at": "yesterday", "since": ""}, "Write the time like"),
        ("retry", {"since": ""}, "Choose from when on it is told."),
        ("replay", {"per_minute": "fast"}, "Per minute: write a whole number"),
    ],
)
async def test_replay_that_cannot_be_is_refused(
    served: Served, kind: str, typed: dict[str, str], sentence: str
) -> None:
    await served.app()
    told = await endpoint(served, "http://127.0.0.1:9100/")
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/again")
        form = next(each for each in page.forms if each.fields.get("kind") == kind)
        refused = await operator.post(form, **typed)
        nothing = await operator.post(FoundForm(form.action, form.fields | {"kind": "burn"}))
    assert (refused.status, nothing.status) == (400, 400)
    assert sentence in refused.text
    assert (await api(served, "GET", "apps/notes/campaigns")).json["campaigns"] == []


async def test_replay_begins_at_a_time_that_is_typed(served: Served) -> None:
    await served.app()
    assert (await enrolled(served, "ada@example.com")).status == 200
    told = await endpoint(served, "http://127.0.0.1:9100/")
    async with signed_in(served) as operator:
        page = await operator.get(f"{LIST}/{told}/again")
        form = next(each for each in page.forms if each.fields.get("kind") == "replay")
        begun = await operator.post(form, at="2020-01-02T03:04")
    assert "Replay has begun." in begun.text or "Replay is done." in begun.text
    [campaign] = (await api(served, "GET", "apps/notes/campaigns")).json["campaigns"]
    assert (campaign["kind"], campaign["total"]) == ("replay", 3)


async def test_read_only_sees_and_changes_nothing(served: Served) -> None:
    await served.app()
    told = await endpoint(served, "http://127.0.0.1:9100/")
    async with signed_in(served, "read-only") as operator:
        for path in (
            "",
            f"/{told}",
            f"/{told}/test",
            f"/{told}/again",
            f"/{told}/settings",
            f"/{told}/secret",
        ):
            page = await operator.get(LIST + path)
            assert page.status == 200, path
            assert not [form for form in page.forms if form.action.endswith(("/state", "/delete", "/test"))]
        csrf = page.form("/theme").fields["csrf"]
        for verb in ("state", "delete", "settings", "secret", "test", "again"):
            fields = {"csrf": csrf, "state": "paused", "url": "http://127.0.0.1:9100/", "told_of": "every"}
            form = FoundForm(
                f"/manager{LIST}/{told}/{verb}", fields | {"kind": "backfill", "type": "test.ping"}
            )
            assert (await operator.post(form)).status == 403, verb
    assert (await of(served, told))["state"] == "enabled"


async def test_endpoint_of_another_app_is_not_found(served: Served) -> None:
    await served.app()
    await served.app("plans")
    told = await endpoint(served, "http://127.0.0.1:9100/")
    async with signed_in(served) as operator:
        for rest in ("", "/settings", "/secret", "/test", "/again"):
            assert (await operator.get(f"/apps/plans/endpoints/{told}{rest}")).status == 404
