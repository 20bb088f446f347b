"""Change hooks through the doors: made, shown, tried out, looked at and told of what REST and sync write."""

import asyncio
import json
import re
from typing import Any

import pytest

from admit.outbound import signing
from tests.commands import Runner
from tests.contract.change_desk import ADA, Desk, changes_in, keys_in, told_of
from tests.contract.command_line import CommandLine
from tests.contract.served import Answered, Served, serving
from tests.contract.sync_desk import Device
from tests.contract.test_cli_campaigns import far_side
from tests.receiver import Receiver, always, in_turn, receiving
from tests.structure.source import page

OK = always(200)
FILTER = {
    "changes": [
        {"table": "todos", "operations": ["upsert", "update"], "properties": ["title", "done"]},
        {"table": "", "operations": ["delete"], "properties": []},
    ]
}


async def api(served: Served, method: str, path: str, body: object = None) -> Answered:
    return await served.ask(method, f"/api/apps/notes/{path}", headers=served.command(), json=body)


@pytest.fixture
async def desk(served: Served) -> Desk:
    return Desk(served, await served.app())


async def made(desk: Desk, told: Receiver, **settings: Any) -> dict[str, Any]:
    answer = await api(desk.served, "POST", "endpoints", {"url": told.url, "format": "dexie"} | settings)
    assert answer.status == 200, answer.body
    view: dict[str, Any] = answer.json
    return view


async def test_hook_is_shown_as_it_was_made(desk: Desk) -> None:
    async with receiving(OK) as told:
        view = await made(desk, told, filter=FILTER)
        shown = await api(desk.served, "GET", f"endpoints/{view['id']}")

    assert view["secret"].startswith("whsec_")
    assert (shown.json["format"], shown.json["events"]) == ("dexie", ["data.changed"])
    assert shown.json["filter"]["changes"] == FILTER["changes"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"events": ["user.enrolled"]}, "is told of data.changed"),
        ({"once": "user"}, "is told of data.changed"),
        ({"filter": {"user_types": ["prod"]}}, "can only ask for changes"),
        ({"filter": {"changes": [{"operations": ["insert"]}]}}, "insert"),
        ({"filter": {"changes": [{"table": "x" * 101}]}}, "at most 100 characters"),
        ({"filter": {"changes": [{"properties": [""]}]}}, "1 to 500 characters"),
        ({"filter": {"changes": [{}] * 101}}, "at most 100"),
        ({"filter": {"changes": [{"properties": [f"p{n}" for n in range(100)]}] * 6}}, "500 properties"),
        ({"signature": "ed25519"}, "private key"),
        ({"format": "thin", "filter": FILTER}, "not among its events"),
    ],
)
async def test_what_does_not_go_together_is_refused(desk: Desk, settings: Any, sentence: str) -> None:
    body = {"url": "https://a.example", "format": "dexie"} | settings
    answer = await api(desk.served, "POST", "endpoints", body)
    assert (answer.status, sentence in answer.json["message"]) == (400, True), answer.json
    assert (await api(desk.served, "GET", "endpoints")).json["endpoints"] == []


@pytest.mark.parametrize(("before", "after"), [("dexie", "full"), ("thin", "dexie")])
async def test_format_dexie_stays_as_it_was_made(desk: Desk, before: str, after: str) -> None:
    view = await api(desk.served, "POST", "endpoints", {"url": "https://a.example", "format": before})
    answer = await api(desk.served, "PUT", f"endpoints/{view.json['id']}", {"format": after})
    assert answer.status == 400
    assert (await api(desk.served, "GET", f"endpoints/{view.json['id']}")).json["format"] == before


async def test_new_secret_is_the_token_at_once_and_the_former_one_signs_too(desk: Desk) -> None:
    async with receiving(OK) as told:
        view = await made(desk, told)
        rotated = await api(desk.served, "POST", f"endpoints/{view['id']}/secret", {"overlap_seconds": 600})
        await desk.change({})
        await told_of(told, 1)

    [call] = told.calls
    assert call.headers["x-dexiecloud-token"] == rotated.json["secret"] != view["secret"]
    own = [
        signing.headers(
            [secret], call.headers["webhook-id"], int(call.headers["webhook-timestamp"]), call.body
        )["webhook-signature"]
        for secret in (rotated.json["secret"], view["secret"])
    ]
    assert call.headers["webhook-signature"] == " ".join(own)


async def test_trial_sends_an_example_of_what_it_would_be_told(desk: Desk) -> None:
    async with receiving(OK) as told:
        view = await made(desk, told)
        ping = await api(desk.served, "POST", f"endpoints/{view['id']}/test", {})
        example = await api(desk.served, "POST", f"endpoints/{view['id']}/test", {"type": "data.changed"})
        refused = await api(desk.served, "POST", f"endpoints/{view['id']}/test", {"type": "user.enrolled"})

    assert (ping.json["delivered"], told.calls[0].json) == (True, {"changes": []})
    assert [each["type"] for each in told.calls[1].json["changes"]] == ["upsert", "update"]
    assert told.calls[1].headers["x-dexiecloud-token"] == view["secret"]
    assert example.json["delivered"] is True
    assert (refused.status, len(told.calls)) == (400, 2)
    assert await desk.rows() == []


async def test_delivery_is_listed_shown_with_its_body_and_tried_again(desk: Desk) -> None:
    async with receiving(in_turn(always(500), OK)) as told:
        view = await made(desk, told, retry_delays=[3_600])
        await desk.change({"key": "k0"})
        await desk.failed_once()
        listed = await api(desk.served, "GET", f"deliveries?endpoint={view['id']}")
        [row] = listed.json["deliveries"]
        again = await api(desk.served, "POST", f"deliveries/{row['id']}/retry")
        await desk.quiet()
        shown = await api(desk.served, "GET", f"deliveries/{row['id']}")
        once_more = await api(desk.served, "POST", f"deliveries/{row['id']}/retry")
        await desk.until(lambda rows: len(told.calls) == 3 and rows[0].finished_at is not None)

    assert (row["type"], row["state"], row["event_id"]) == ("data.changed", "waiting", row["id"])
    assert again.status == once_more.status == 200
    assert (shown.json["state"], len(shown.json["history"])) == ("delivered", 2)
    assert json.loads(shown.json["body"]) == told.calls[0].json
    assert {call.headers["webhook-id"] for call in told.calls} == {row["id"]}
    assert keys_in(told) == ["k0"]


async def test_example_is_not_left_to_a_hook_and_a_backfill_neither(desk: Desk) -> None:
    async with receiving(OK) as told:
        view = await made(desk, told)
        body = {"type": "data.changed", "endpoint": view["id"]}
        triggered = await api(desk.served, "POST", "events/trigger", body)
        backfill = await api(desk.served, "POST", f"endpoints/{view['id']}/backfill", {"of": "user"})

    assert (triggered.status, backfill.status) == (400, 409), (triggered.body, backfill.body)
    assert told.calls == []


async def test_what_rest_writes_is_told(desk: Desk) -> None:
    await desk.person()
    async with receiving(OK) as told:
        await made(desk, told, filter={"changes": [{"table": "todos"}]})
        headers = desk.served.bearer(desk.app)
        for body in ({"id": "t1", "title": "Call Grace"}, {"id": "t1", "title": "Call Ada"}):
            answer = await desk.served.ask("POST", "/notes/my/todos", headers=headers, json=body)
            assert answer.status == 200, answer.body
        await desk.served.ask("POST", "/notes/my/other", headers=headers, json={"id": "o1"})
        gone = await desk.served.ask("DELETE", "/notes/my/todos/t1", headers=headers)
        assert gone.status in (200, 204), gone.body
        await told_of(told, 3)

    assert [(each["type"], each["key"], each["realmId"]) for each in changes_in(told)] == [
        ("upsert", "t1", ADA),
        ("upsert", "t1", ADA),
        ("delete", "t1", ADA),
    ]
    assert changes_in(told)[1]["value"]["title"] == "Call Ada"


async def test_what_devices_sync_is_told_and_what_was_refused_is_not(desk: Desk) -> None:
    await desk.person()
    async with receiving(OK) as told:
        await made(desk, told, filter={"changes": [{"table": "todos", "properties": ["title"]}]})
        device = Device(desk.served, desk.app)
        device.put("todos", "t1", {"id": "t1", "title": "Call Grace"})
        device.did("todos", "upsert", "t2", values=[{"id": "t2", "realmId": "eve@example.com"}])
        await device.sync()
        device.update("todos", "t1", {"done": True})
        device.update("todos", "t1", {"title": "Call Ada", "tags.first": "x"})
        await device.ask()
        await device.sync()  # the answer to the first was lost: nothing happens twice
        device.delete("todos", "t1")
        await device.sync()
        await told_of(told, 3)
        await desk.quiet()

    created, updated, deleted = changes_in(told)
    assert (created["type"], created["value"]["title"]) == ("upsert", "Call Grace")
    assert (updated["type"], updated["updates"]) == ("update", {"title": "Call Ada", "tags.first": "x"})
    assert (deleted["type"], deleted["key"]) == ("delete", "t1")


async def test_two_servers_tell_each_change_once_and_in_order(served_postgres_url: str) -> None:
    async with (
        serving(served_postgres_url) as here,
        serving(served_postgres_url) as there,
        receiving(OK) as told,
    ):
        first = Desk(here, await here.app())
        await first.person()
        second = Desk(there, await there.gateway.directory.app("notes"), first.uids)
        await first.hook(told.url)
        await asyncio.gather(
            *(
                desk.change({"key": f"{name}{number}"}, {"key": f"{name}{number}'"})
                for number in range(100)
                for name, desk in (("a", first), ("b", second))
            )
        )
        await told_of(told, 400)
        await first.quiet()
        recorded = await _keys_in_log(first)

    assert keys_in(told) == recorded
    assert len(set(recorded)) == 400
    assert len({call.headers["webhook-id"] for call in told.calls}) == len(told.calls)


async def _keys_in_log(desk: Desk) -> list[str]:
    from admit.events import log

    events = await desk.served.gateway.db.read(lambda tx: log.after(tx, desk.app.app_id, 0, 5_000))
    told = [json.loads(bytes(each.data)) for each in events if each.type == "data.changed"]
    return [change["key"] for data in told for change in data["changes"]]


def test_commands_of_the_guide_do_what_it_says(runner: Runner, tmp_path: Any) -> None:
    commands = re.findall(r"^admit .+$", page("guides/change-hooks.md"), re.MULTILINE)
    admit = CommandLine(runner, tmp_path, {"ADMIT_EGRESS_ALLOW": "127.0.0.1"})
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    with far_side() as far:
        ids: dict[str, str] = {"https://crm.example.com/changes": far.url}
        for command in commands:
            words = [ids.get(word, word) for word in command.split()[1:]]
            answer = admit.json(*words, *(["--yes"] if "rotate" in words else []))
            if "create" in words:
                ids["ep_…"] = answer["id"]
    assert len(commands) >= 9
    assert len(far.ids) == 1


def test_commands_make_show_and_change_a_hook(runner: Runner, tmp_path: Any) -> None:
    admit = CommandLine(runner, tmp_path, {})
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    create = ("endpoint", "create", "notes", "https://a.example", "--format", "dexie")
    filters = ("--filter", "todos:upsert,update:title,done", "--filter", "*:delete", "--filter", "news")
    hook = admit.json(*create, *filters)
    assert hook["filter"]["changes"] == [
        *FILTER["changes"],
        {"table": "news", "operations": [], "properties": []},
    ]

    shown = admit.done("endpoint", "show", "notes", hook["id"])
    assert "todos:upsert,update:title,done; *:delete; news" in shown
    assert "dexie" in shown
    changed = admit.json("endpoint", "set", "notes", hook["id"], "--filter", "todos:*:address.city")
    assert changed["filter"]["changes"] == [
        {"table": "todos", "operations": [], "properties": ["address.city"]}
    ]
    everything = admit.json("endpoint", "set", "notes", hook["id"], "--no-filter")
    assert everything["filter"]["changes"] == []
    ended = admit(*create, "--filter", "todos:insert")
    assert (ended.code, "is no filter" in ended.err) == (2, True)
    assert admit(*create, "--full").code == 2
    paused = admit.json("endpoint", "pause", "notes", hook["id"])
    assert paused["state"] == "paused"
    replayed = admit.json("endpoint", "replay", "notes", hook["id"], "--since", "1h")
    assert (replayed["state"], "in order" in replayed["detail"]) == ("done", True)
    assert "It is told again" in admit("endpoint", "replay", "notes", hook["id"], "--since", "1h").err
