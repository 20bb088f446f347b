"""Replays, retries, backfills and deliveries by the admin API, with a receiver at the other end."""

import asyncio
import time
from collections import Counter
from typing import Any

from standardwebhooks import Webhook

from admit.accounts.apps import App
from admit.clock import DAY_MS
from tests.contract.served import Answered, Served
from tests.receiver import Receiver, always, in_turn, receiving

OK = always(200)
GONE_WRONG = always(500)


async def api(served: Served, method: str, path: str, body: object = None, token: str = "") -> Answered:
    headers = {"Authorization": f"Bearer {token}"} if token else served.command()
    return await served.ask(method, f"/api/apps/{path}", headers=headers, json=body)


async def done(served: Served, method: str, path: str, body: object = None) -> Any:
    answered = await api(served, method, path, body)
    assert answered.status == 200, answered.body
    return answered.json


async def endpoint(served: Served, told: Receiver, **chosen: Any) -> dict[str, Any]:
    body = {"url": told.url, "events": ["user.enrolled", "user.updated"]} | chosen
    made: dict[str, Any] = await done(served, "POST", "notes/endpoints", body)
    return made


async def enroll(served: Served, app: App, *names: str) -> None:
    await served.write(app, *({"userId": f"{name}@example.com", "type": "prod"} for name in names))


async def until(served: Served, path: str, wanted: Any, seconds: float = 15) -> Any:
    """What is at `path` once `wanted` holds of it."""
    give_up_at = time.monotonic() + seconds
    while not wanted(found := await done(served, "GET", path)):
        assert time.monotonic() < give_up_at, found
        await asyncio.sleep(0.02)
    return found


async def ended(served: Served, campaign: dict[str, Any]) -> Any:
    return await until(served, f"notes/campaigns/{campaign['id']}", lambda each: each["state"] != "running")


async def calls(told: Receiver, count: int, seconds: float = 15) -> None:
    give_up_at = time.monotonic() + seconds
    while len(told.calls) < count:
        assert time.monotonic() < give_up_at, len(told.calls)
        await asyncio.sleep(0.02)


async def test_backfill_arrives_signed_once_per_person_and_says_what_it_is(served: Served) -> None:
    app = await served.app()
    await enroll(served, app, *(f"u{number}" for number in range(40)))
    async with receiving(OK) as told:
        made = await endpoint(served, told, format="full", once="user")
        await enroll(served, app, "late")
        begun = await done(served, "POST", f"notes/endpoints/{made['id']}/backfill", {"of": "user"})
        assert (begun["kind"], begun["of"], begun["total"]) == ("backfill", "user", 41)
        over = await ended(served, begun)
        await calls(told, 41)
        again = await done(served, "POST", f"notes/endpoints/{made['id']}/backfill", {"of": "user"})
        assert (await ended(served, again))["done"] == 0

    assert (over["state"], over["done"], over["seen"]) == ("done", 40, 41)
    bodies = [Webhook(made["secret"]).verify(call.body, call.headers) for call in told.calls]
    people = Counter(body["data"]["user"]["user_id"] for body in bodies)
    assert len(people) == 41
    assert set(people.values()) == {1}
    for call, body in zip(told.calls, bodies, strict=True):
        of_backfill = body["data"]["user"]["user_id"] != "late@example.com"
        assert body["data"].get("backfill", False) == of_backfill
        assert ("sequence" in body["data"]) != of_backfill
        assert call.headers["webhook-id"].startswith("evt_backfill_usr_") == of_backfill


async def test_what_was_missed_arrives_when_the_endpoint_is_enabled_again(served: Served) -> None:
    app = await served.app()
    async with receiving(OK) as told:
        made = await endpoint(served, told)
        state = f"notes/endpoints/{made['id']}/state"
        await done(served, "PUT", state, {"state": "paused"})
        await enroll(served, app, "ada", "bob")
        await served.write(app, {"userId": "ada@example.com", "data": {"n": 1}})
        resumed = await done(served, "PUT", state, {"state": "enabled"})
        assert resumed["behind"] is not None
        await until(served, f"notes/endpoints/{made['id']}", lambda each: each["behind"] is None)
        await enroll(served, app, "eve")
        await calls(told, 4)

    bodies = [call.json["data"] for call in told.calls]
    assert Counter(body["sequence"] for body in bodies) == Counter("1234")
    of_ada = [body["sequence"] for body in bodies if body["user"]["user_id"] == "ada@example.com"]
    assert of_ada == sorted(of_ada)
    [listed] = (await done(served, "GET", f"notes/campaigns?endpoint={made['id']}"))["campaigns"]
    assert (listed["kind"], listed["state"], listed["done"]) == ("catch_up", "done", 3)
    refused = await api(served, "DELETE", f"notes/campaigns/{listed['id']}")
    assert (refused.status, refused.json["code"]) == (409, "campaign_needed")


async def test_replay_bears_the_same_ids(served: Served) -> None:
    app = await served.app()
    async with receiving(OK) as told:
        made = await endpoint(served, told)
        await enroll(served, app, "ada", "bob")
        await calls(told, 2)
        replay = f"notes/endpoints/{made['id']}/replay"
        since = served.hands() - DAY_MS
        await ended(served, await done(served, "POST", replay, {"since": since}))
        await calls(told, 4)
        await ended(served, await done(served, "POST", replay, {"sequence": "1"}))
        await calls(told, 5)

        for wrong in ({}, {"since": since, "sequence": "1"}, {"sequence": "one"}, {"since": -1}):
            assert (await api(served, "POST", replay, wrong)).status == 400
        assert (await api(served, "POST", replay, {"since": since, "per_minute": 0})).status == 400
        unknown = await api(served, "POST", "notes/endpoints/ep_x/replay", {"since": since})
        assert (unknown.status, unknown.json["code"]) == (404, "endpoint_not_found")

    ids = Counter(call.headers["webhook-id"] for call in told.calls)
    assert sorted(ids.values()) == [2, 3]
    assert len({(call.headers["webhook-id"], call.body) for call in told.calls}) == 2


async def test_failed_delivery_is_looked_at_and_retried(served: Served) -> None:
    app = await served.app()
    async with receiving(in_turn(*[GONE_WRONG] * 3, OK)) as told:
        made = await endpoint(served, told, retry_delays=[1])
        await enroll(served, app, "ada")
        page = await until(
            served,
            "notes/deliveries?state=failed",
            lambda found: len(found["deliveries"]) == 1,
        )
        [failed] = page["deliveries"]
        shown = await done(served, "GET", f"notes/deliveries/{failed['id']}")
        assert [each["outcome"] for each in shown["history"]] == ["http_500", "http_500"]
        assert shown["body"] == told.calls[0].body.decode()
        assert (shown["attempts"], shown["type"], shown["sequence"]) == (2, "user.enrolled", "1")
        assert shown["event_id"] == told.calls[0].headers["webhook-id"]

        begun = await done(served, "POST", f"notes/endpoints/{made['id']}/retry-failed", {"since": 0})
        assert (await ended(served, begun))["done"] == 1
        await until(
            served,
            f"notes/deliveries/{failed['id']}",
            # The schedule begins anew: of two attempts in it, the second arrives.
            lambda each: each["state"] == "delivered" and len(each["history"]) == 4,
        )
        again = await done(served, "POST", f"notes/deliveries/{failed['id']}/retry")
        assert again["id"] == failed["id"]
        await calls(told, 5)
    assert len({call.headers["webhook-id"] for call in told.calls}) == 1


async def test_deliveries_are_found_by_person_and_page_by_page(served: Served) -> None:
    app = await served.app()
    async with receiving(OK) as told:
        made = await endpoint(served, told)
        await enroll(served, app, "ada", "bob", "eve")
        await calls(told, 3)
        found, before = [], None
        while True:
            path = f"notes/deliveries?endpoint={made['id']}&limit=2"
            page = await done(served, "GET", path + (f"&before={before}" if before else ""))
            found += page["deliveries"]
            if (before := page["before"]) is None:
                break
        assert len({each["id"] for each in found}) == 3
        page = await done(served, "GET", "notes/deliveries?user=ada%40example.com")
        assert [each["type"] for each in page["deliveries"]] == ["user.enrolled"]
    for path, status in (
        ("notes/deliveries?before=x", 400),
        ("notes/deliveries?before=99999999999999999999.dlv", 400),
        ("notes/deliveries?state=lost", 400),
        ("notes/deliveries?limit=0", 400),
        ("notes/deliveries?user=nobody", 404),
        ("notes/deliveries/dlv_unknown", 404),
        ("notes/campaigns/cmp_unknown", 404),
        ("notes/campaigns?limit=1000", 400),
    ):
        assert (await api(served, "GET", path)).status == status
    assert (await api(served, "POST", "notes/deliveries/dlv_unknown/retry")).status == 404
    assert (await api(served, "DELETE", "notes/campaigns/cmp_unknown")).status == 404


async def test_scopes_and_apps_are_kept_apart(served: Served) -> None:
    app, _ = await served.app(), await served.app("other")
    async with receiving(OK) as told:
        made = await endpoint(served, told)
        await enroll(served, app, "ada")
        await calls(told, 1)
        [delivery] = (await done(served, "GET", "notes/deliveries"))["deliveries"]
        begun = await done(served, "POST", f"notes/endpoints/{made['id']}/backfill", {"of": "user"})
        body = {"label": "a test", "scopes": ["webhooks:read"], "app": "notes"}
        reader = (await served.ask("POST", "/api/tokens", headers=served.command(), json=body)).json["token"]

        for path in (f"deliveries/{delivery['id']}", f"campaigns/{begun['id']}", "deliveries", "campaigns"):
            assert (await api(served, "GET", f"notes/{path}", token=reader)).status == 200
            assert (await api(served, "GET", f"other/{path}", token=reader)).status == 403
        assert (await api(served, "GET", f"other/deliveries/{delivery['id']}")).status == 404
        assert (await api(served, "GET", f"other/campaigns/{begun['id']}")).status == 404
        for method, path, given in (
            ("POST", f"endpoints/{made['id']}/replay", {"since": 0}),
            ("POST", f"endpoints/{made['id']}/retry-failed", {"since": 0}),
            ("POST", f"endpoints/{made['id']}/backfill", {"of": "user"}),
            ("POST", f"deliveries/{delivery['id']}/retry", None),
            ("DELETE", f"campaigns/{begun['id']}", None),
        ):
            assert (await api(served, method, f"notes/{path}", given, token=reader)).status == 403
            assert (await api(served, method, f"other/{path}", given)).status == 404


async def test_backfill_at_a_rate_arrives_no_faster(served: Served) -> None:
    app = await served.app()
    await enroll(served, app, *(f"u{number}" for number in range(13)))
    async with receiving(OK) as told:
        made = await endpoint(served, told)
        body = {"of": "user", "per_minute": 240}
        begun_at = time.monotonic()
        begun = await done(served, "POST", f"notes/endpoints/{made['id']}/backfill", body)
        over = await ended(served, begun)
        took = time.monotonic() - begun_at
        await calls(told, 13)
    assert (over["done"], over["per_minute"]) == (13, 240)
    # Four a second, but the first eight at once: what was not made in the second before is caught up.
    assert took >= 1.0


async def test_endpoint_that_hangs_is_not_buried_and_is_told_the_rest_when_it_answers(served: Served) -> None:
    app = await served.app()
    await enroll(served, app, *(f"u{number}" for number in range(1_000)))
    await enroll(served, app, *(f"v{number}" for number in range(100)))
    async with receiving(OK, held=True) as told:
        made = await endpoint(served, told)
        begun = await done(served, "POST", f"notes/endpoints/{made['id']}/backfill", {"of": "user"})
        full = await until(
            served, f"notes/campaigns/{begun['id']}", lambda each: each["done"] >= 1_000, seconds=30
        )
        assert (full["state"], full["done"]) == ("running", 1_000)
        told.gate.set()
        over = await until(
            served, f"notes/campaigns/{begun['id']}", lambda each: each["state"] == "done", seconds=30
        )
        await calls(told, 1_100, seconds=30)
    assert over["done"] == 1_100
    assert len({call.headers["webhook-id"] for call in told.calls}) == 1_100
