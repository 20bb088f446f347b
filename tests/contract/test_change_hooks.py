"""Change hooks: changed objects arrive as Dexie Cloud tells them, many together, in order, each once."""

import asyncio
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from admit.data.changed import PUBLIC
from admit.errors import InvalidRequest
from admit.events import log
from admit.events.data_facts import DataChanged
from admit.jobs import attempts
from admit.webhooks import change_portions
from tests.contract.change_desk import ADA, SECRET, Desk, changes_in, filtered, keys_in, told_of
from tests.contract.served import Hands, Served, serving
from tests.receiver import always, in_turn, receiving

OK = always(200)


@pytest.fixture
async def desk(served: Served) -> Desk:
    return Desk(served, await served.app())


@pytest.fixture
async def one(door: Served) -> Desk:
    """On SQLite, for what the database has no part in."""
    return Desk(door, await door.app())


async def test_changes_arrive_as_dexie_cloud_tells_them(desk: Desk) -> None:
    async with receiving(OK) as told:
        await desk.hook(told.url)
        await desk.change(
            {"key": "t1", "value": {"id": "t1", "due": {"$t": "Date", "v": "2026-11-23T00:00:00.000Z"}}},
            {"key": "t1", "type": "update", "updates": {"done": True, "a.b": 1}, "before": {}},
            {"key": "t1", "type": "delete", "value": None, "before": {}},
        )
        await desk.change({"table": "news", "key": "n1", "value": {"id": "n1"}}, of=PUBLIC)
        await told_of(told, 4)

    assert all(call.json.keys() == {"changes"} for call in told.calls)
    mine = {"realmId": ADA, "table": "todos", "key": "t1"}
    due = {"$t": "Date", "v": "2026-11-23T00:00:00.000Z"}
    assert changes_in(told) == [
        {"type": "upsert", **mine, "value": {"id": "t1", "due": due}},
        {"type": "update", **mine, "updates": {"done": True, "a.b": 1}},
        {"type": "delete", **mine},
        {"type": "upsert", "realmId": PUBLIC, "table": "news", "key": "n1", "value": {"id": "n1"}},
    ]


async def test_request_has_the_secret_as_a_token_and_a_standard_signature(desk: Desk) -> None:
    async with receiving(OK) as told:
        await desk.hook(told.url, headers={"authorization": "Bearer own"})
        await desk.change({})
        await desk.quiet()

    [call] = told.calls
    assert call.headers["x-dexiecloud-token"] == SECRET
    assert call.headers["authorization"] == "Bearer own"
    assert call.headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(call.body, call.headers) == call.json


async def test_token_that_the_receiver_knows_already_goes_in_place_of_the_secret(one: Desk) -> None:
    async with receiving(OK) as told:
        await one.hook(told.url, headers={"x-dexiecloud-token": "known for years"})
        await one.change({})
        await one.quiet()

    assert told.calls[0].headers["x-dexiecloud-token"] == "known for years"


async def test_private_key_is_never_made_a_token(one: Desk) -> None:
    from admit.webhooks import endpoints, secrets
    from admit.webhooks.endpoint_settings import SettingsChange

    made, key = SettingsChange(url="https://a.example", format="dexie"), secrets.new_secret("ed25519")
    ring, now, app_id = one.served.gateway.ring, one.served.hands(), one.app.app_id
    with pytest.raises(InvalidRequest, match="private key"):
        await one.served.gateway.db.write(lambda tx: endpoints.create(tx, ring, app_id, made, key, now))
    hook = await one.hook("https://a.example")
    with pytest.raises(InvalidRequest, match="private key"):
        await one.served.gateway.db.write(
            lambda tx: endpoints.rotate(tx, ring, app_id, hook, key, overlap_seconds=60, now=now)
        )


async def test_what_comes_while_a_request_is_under_way_comes_together_in_the_next(desk: Desk) -> None:
    async with receiving(OK, held=True) as told:
        await desk.hook(told.url)
        await desk.change({"key": "k0"})
        await asyncio.wait_for(told.arrived.wait(), 10)
        for number in range(1, 30):
            await desk.change({"key": f"k{number}"})
        assert len(await desk.rows()) == 1
        told.gate.set()
        await told_of(told, 30)

    assert [len(call.json["changes"]) for call in told.calls] == [1, 29]
    assert keys_in(told) == [f"k{number}" for number in range(30)]


async def test_a_thousand_changes_of_a_dead_receiver_come_in_few_bodies_in_order_and_once(
    served_url: str,
) -> None:
    hands = Hands()
    async with serving(served_url, hands=hands) as served, receiving(in_turn(always(500), OK)) as told:
        desk = Desk(served, await served.app())
        await desk.hook(told.url)
        await desk.change({"key": "k0"})
        await desk.failed_once()
        await asyncio.gather(*(desk.change({"key": "k1"}, {"key": "k1", "type": "delete"}) for _ in range(5)))
        for start in range(0, 1_000, 50):
            await asyncio.gather(*(desk.change({"key": f"k{start + each}"}) for each in range(50)))
        desk.hurry(seconds=10)
        await told_of(told, 1_011)
        rows = await desk.quiet()

    # In order: as their events stand in the log.
    recorded = await _recorded(desk_url=served_url)
    assert keys_in(told) == recorded
    assert [row.state for row in rows] == ["done"] * len(rows)
    assert 4 <= len(told.calls) <= 6
    first, again = told.calls[:2]
    assert (first.headers["webhook-id"], first.body) == (again.headers["webhook-id"], again.body)
    assert max(len(call.json["changes"]) for call in told.calls) <= change_portions.CHANGES_MAX


async def _recorded(desk_url: str) -> list[str]:
    """The keys of all changes as they stand in the log."""
    async with serving(desk_url) as served:
        app = await served.gateway.directory.app("notes")
        events = await served.gateway.db.read(lambda tx: log.after(tx, app.app_id, 0, 5_000))
    told = [json.loads(bytes(each.data)) for each in events if each.type == DataChanged.event_type]
    return [change["key"] for data in told for change in data["changes"]]


async def test_failed_body_is_sent_again_as_it_was_though_more_has_come_and_the_filter_is_another(
    served_url: str,
) -> None:
    from functools import partial

    from admit.webhooks import endpoints
    from admit.webhooks.endpoint_settings import SettingsChange

    hands = Hands()
    async with serving(served_url, hands=hands) as served, receiving(in_turn(always(500), OK)) as told:
        desk = Desk(served, await served.app())
        hook = await desk.hook(told.url)
        await desk.change({"key": "k0"}, {"key": "n0", "table": "news"})
        await desk.failed_once()
        await desk.change({"key": "k1"}, {"key": "n1", "table": "news"})
        change = SettingsChange(filter=filtered({"table": "todos"}))
        ring, app_id = served.gateway.ring, desk.app.app_id
        await served.gateway.db.write(
            partial(endpoints.change, ring=ring, app_id=app_id, endpoint_id=hook, change=change, now=hands())
        )
        desk.hurry(seconds=10)
        await told_of(told, 3)

    assert told.calls[0].body == told.calls[1].body
    assert told.calls[0].headers["webhook-id"] == told.calls[1].headers["webhook-id"]
    assert keys_in(told) == ["k0", "n0", "k1"]


ITEM = {"key": "t", "table": "todos"}
NEWS = {"key": "n", "table": "news"}
UPDATE = {"type": "update", "before": {}}


@pytest.mark.parametrize(
    ("filters", "change", "passes"),
    [
        ((), ITEM, True),
        (({"table": "todos"},), ITEM, True),
        (({"table": "todos"},), NEWS, False),
        (({"table": "todos"}, {"table": "news"}), NEWS, True),
        (({"operations": ("delete",)},), ITEM, False),
        (({"operations": ("upsert", "delete")},), ITEM, True),
        (({"table": "news", "operations": ("upsert",)}, {"operations": ("delete",)}), ITEM, False),
        (({"properties": ("title",)},), ITEM, True),
        (({"properties": ("title",)},), ITEM | UPDATE | {"updates": {"title": "x"}}, True),
        (({"properties": ("title",)},), ITEM | UPDATE | {"updates": {"done": True}}, False),
        (({"properties": ("address",)},), ITEM | UPDATE | {"updates": {"address.city": "x"}}, True),
        (({"properties": ("address.city",)},), ITEM | UPDATE | {"updates": {"address": {}}}, True),
        (({"properties": ("address.city",)},), ITEM | UPDATE | {"updates": {"address.zip": "x"}}, False),
        (({"properties": ("address",)},), ITEM | UPDATE | {"updates": {"addressee": "x"}}, False),
        (({"properties": ("a",)},), ITEM | {"before": {"a": 1, "b": 1}, "value": {"a": 1, "b": 2}}, False),
        (({"properties": ("b",)},), ITEM | {"before": {"a": 1, "b": 1}, "value": {"a": 1, "b": 2}}, True),
        (({"properties": ("b",)},), ITEM | {"before": {"a": 1, "b": 1}, "value": {"a": 1}}, True),
        (({"properties": ("b.c",)},), ITEM | {"before": {"b": 1}, "value": {"b": {"c": 1}}}, True),
        (({"properties": ("b",)},), ITEM | {"before": {"b": 1}, "value": {"b": True}}, True),
        (({"properties": ("x",)},), ITEM | {"type": "delete", "value": None, "before": {"y": 1}}, True),
    ],
)
async def test_filters_let_through_what_one_of_them_holds_for(
    one: Desk, filters: Any, change: Any, passes: bool
) -> None:
    async with receiving(OK) as told:
        await one.hook(told.url, filter=filtered(*filters))
        await one.change(change)
        # What is not for it leaves no job, and nothing to wait for: this one, for everybody, comes behind.
        await one.hook(told.url)
        await one.change({"key": "last", "table": "elsewhere"})
        await told_of(told, 1)
        await one.quiet()

    assert [key for key in keys_in(told) if key != "last"] == [change["key"]] * passes


async def test_body_is_cut_between_events_where_it_grows_too_large(desk: Desk) -> None:
    wide = "x" * 400_000
    async with receiving(OK, held=True) as told:
        await desk.hook(told.url)
        await desk.change({"key": "k0"})
        await asyncio.wait_for(told.arrived.wait(), 10)
        for number in range(1, 5):
            await desk.change({"key": f"k{number}", "value": {"wide": wide}})
        await desk.change({"key": "k5", "value": {"wide": "x" * 1_000_100}})
        await desk.change(*({"key": f"k{number}", "value": {}} for number in range(6, 256)))
        told.gate.set()
        await told_of(told, 256)

    assert keys_in(told) == [f"k{number}" for number in range(256)]
    assert [len(call.json["changes"]) for call in told.calls] == [1, 2, 2, 1, 250]


async def test_event_holds_at_most_a_hundred_changes_or_one_megabyte(desk: Desk) -> None:
    await desk.hook("https://a.example")
    await desk.change(*({"key": f"k{number}"} for number in range(205)))
    await desk.change(*({"key": f"w{number}", "value": {"wide": "x" * 600_000}} for number in range(3)))

    events = await desk.served.gateway.db.read(lambda tx: log.after(tx, desk.app.app_id, 0, 100))
    told = [json.loads(bytes(each.data))["changes"] for each in events if each.type == "data.changed"]
    assert [len(changes) for changes in told] == [100, 100, 5, 1, 1, 1]
    assert [each["key"] for changes in told[:3] for each in changes] == [f"k{n}" for n in range(205)]


async def test_update_that_is_larger_than_an_object_may_be_is_told_as_the_object(one: Desk) -> None:
    async with receiving(OK) as told:
        await one.hook(told.url)
        wide = {"a.b": "x" * 1_000_001, "a": 1}
        await one.change({"type": "update", "updates": wide, "before": {}, "value": {"a": 1}})
        await told_of(told, 1)

    [change] = changes_in(told)
    assert (change["type"], change["value"], "updates" in change) == ("upsert", {"a": 1}, False)


async def test_nothing_is_recorded_while_nobody_asks_for_it(desk: Desk) -> None:
    await desk.change({"key": "before"})
    assert not await desk.tells()
    first = await desk.endpoint("https://a.example", events=("data.changed",))
    second = await desk.hook("https://b.example")
    assert await desk.tells()
    await _remove(desk, first)
    assert await desk.tells()
    await desk.pause(second)
    assert await desk.tells()
    await _remove(desk, second)
    assert not await desk.tells()
    await desk.change({"key": "after"})

    events = await desk.served.gateway.db.read(lambda tx: log.after(tx, desk.app.app_id, 0, 100))
    assert [each.type for each in events] == ["user.enrolled"]


async def _remove(desk: Desk, endpoint_id: str) -> None:
    from admit.webhooks import endpoint_states

    now = desk.served.hands()
    outcome = await desk.served.gateway.db.write(
        lambda tx: endpoint_states.remove(tx, desk.app.app_id, endpoint_id, now)
    )
    assert outcome == "gone"


async def test_what_a_paused_hook_misses_comes_when_it_is_resumed(desk: Desk) -> None:
    async with receiving(OK) as told:
        hook = await desk.hook(told.url)
        await desk.change({"key": "k0"})
        await desk.quiet()
        await desk.pause(hook)
        for number in range(1, 20):
            await desk.change({"key": f"k{number}"})
        assert len(await desk.quiet()) == 1
        await desk.resume(hook)
        await told_of(told, 20)
        await desk.change({"key": "k20"})
        await told_of(told, 21)
        await desk.quiet()

    assert keys_in(told) == [f"k{number}" for number in range(21)]
    assert len(told.calls) <= 3
    state = await desk.state(hook)
    assert (state.state, state.caught_up_to) == ("enabled", None)


async def test_hook_that_says_gone_is_disabled_and_begins_with_the_same_body_when_enabled(
    desk: Desk,
) -> None:
    async with receiving(in_turn(always(410), OK)) as told:
        hook = await desk.hook(told.url)
        await desk.change({"key": "k0"})
        await desk.failed_once()
        assert (await desk.state(hook)).state == "disabled"
        await desk.change({"key": "k1"})
        await desk.resume(hook)
        desk.hurry(seconds=10)
        await told_of(told, 2)

    assert keys_in(told) == ["k0", "k1"]
    assert told.calls[0].body == told.calls[1].body


async def test_body_that_was_given_up_is_left_behind_and_told_again_by_a_retry_of_all(desk: Desk) -> None:
    from admit.webhooks import campaign_starts

    async with receiving(in_turn(always(500), always(500), OK)) as told:
        hook = await desk.hook(told.url, retry_delays=(1.0,))
        since = desk.served.hands()
        await desk.change({"key": "k0"})
        await desk.until(lambda rows: any(row.state == "dead" for row in rows))
        await desk.change({"key": "k1"})
        await told_of(told, 2)
        await desk.quiet()
        campaign = await desk.served.gateway.db.write(
            lambda tx: campaign_starts.start_retry(
                tx, desk.app.app_id, hook, since=since, per_minute=None, now=desk.served.hands()
            )
        )
        await told_of(told, 4)

    assert keys_in(told) == ["k0", "k1", "k0", "k1"]
    assert getattr(campaign, "state", None) == "done"


async def test_replay_tells_everything_again_in_order_before_anything_new(desk: Desk) -> None:
    from admit.webhooks import campaign_starts

    async with receiving(OK) as told:
        hook = await desk.hook(told.url)
        for number in range(5):
            await desk.change({"key": f"k{number}"})
        await told_of(told, 5)
        await desk.quiet()
        await desk.served.gateway.db.write(
            lambda tx: campaign_starts.start_replay(
                tx, desk.app.app_id, hook, since=None, after=0, per_minute=None, now=desk.served.hands()
            )
        )
        await desk.change({"key": "k5"})
        await told_of(told, 11)

    assert keys_in(told)[5:] == [f"k{number}" for number in range(6)]


async def test_nothing_of_a_deleted_person_is_sent_any_more(served_url: str) -> None:
    hands = Hands()
    async with serving(served_url, hands=hands) as served, receiving(in_turn(always(500), OK)) as told:
        desk = Desk(served, await served.app())
        await desk.hook(told.url)
        await desk.change({"key": "a0"})
        await desk.change({"key": "b0"}, of="bob@example.com")
        await desk.failed_once()
        await desk.change({"key": "a1"})
        await desk.change({"key": "b1"}, of="bob@example.com")
        await _delete(desk, ADA)
        desk.hurry(seconds=10)
        await told_of(told, 1)
        await desk.quiet()
        events = await served.gateway.db.read(lambda tx: log.after(tx, desk.app.app_id, 0, 100))

    sent = [each["key"] for call in told.calls[1:] for each in call.json["changes"]]
    assert sent == ["b0", "b1"] or sent == ["b1"]
    left = [json.loads(bytes(each.data)) for each in events if each.uid == desk.uids[ADA]]
    assert {"changes": []} in left
    assert b"Call Grace" not in b"".join(bytes(each.data) for each in events if each.uid == desk.uids[ADA])


async def _delete(desk: Desk, user_id: str) -> None:
    answer = await desk.served.ask(
        "DELETE",
        f"/{desk.app.name}/users/{user_id}",
        headers=desk.served.bearer(desk.app, user_id, ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")),
    )
    assert answer.status == 200, answer.body


async def test_replies_of_change_hooks_are_not_kept(desk: Desk) -> None:
    async with receiving(always(200, about="Call Grace")) as told:
        await desk.hook(told.url)
        await desk.change({})
        [row] = await desk.quiet()
    [attempt] = await desk.served.gateway.db.read(lambda tx: attempts.of_job(tx, desk.app.app_id, row.job_id))
    assert (attempt.status, attempt.reply) == (200, "")


async def test_nobody_else_is_told_of_changes_unless_they_name_the_type(desk: Desk) -> None:
    async with receiving(OK) as everything, receiving(OK) as named, receiving(OK) as full:
        await desk.endpoint(everything.url)
        await desk.endpoint(named.url, events=("data.changed",))
        await desk.endpoint(full.url, events=("data.changed",), format="full")
        await desk.change({"key": "k0", "value": {"title": "Call Grace"}})
        await desk.served.write(desk.app, {"userId": ADA, "type": "eval"})
        for each in (everything, named, full):
            await asyncio.wait_for(each.arrived.wait(), 10)
        fed = await desk.served.ask(
            "GET", f"/api/apps/{desk.app.name}/events?after=beginning", headers=desk.served.command()
        )
        asked = await desk.served.ask(
            "GET",
            f"/api/apps/{desk.app.name}/events?after=beginning&types=data.changed",
            headers=desk.served.command(),
        )

    assert "data.changed" not in {call.json["type"] for call in everything.calls}
    [thin], [whole] = [call.json for call in named.calls], [call.json for call in full.calls]
    change = {"type": "upsert", "realmId": ADA, "table": "todos", "key": "k0"}
    assert (thin["type"], thin["data"]["changes"]) == ("data.changed", [change])
    assert whole["data"]["changes"] == [change | {"value": {"title": "Call Grace"}}]
    assert "data.changed" not in {each["type"] for each in fed.json["events"]}
    assert [each["type"] for each in asked.json["events"]] == ["data.changed"]


async def test_hook_is_disabled_before_it_gives_up_a_body(one: Desk) -> None:
    from admit.webhooks.change_delivery import SCHEDULE
    from admit.webhooks.health import DISABLE_MS

    assert sum(SCHEDULE.delays_ms) * 0.8 > DISABLE_MS
