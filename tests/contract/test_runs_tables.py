"""What runs read and write in the app's tables is what devices sync: checked, together, once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from admit.data import object_pages, table_settings
from admit.data.table_settings import TableSetting
from admit.enrollment.departures import delete_person
from admit.task.payloads import Call
from admit.task.wire import DeleteObject, Ended, PutObject
from admit.tasks import object_rows
from tests.contract.row_desk import ADA, BOB, PUBLIC
from tests.contract.sync_desk import Device
from tests.contract.task_desk import TaskDesk, overtaken, tasks_at, until
from tests.contract.task_desk import desk as desk_of_nobody
from tests.contract.test_changes_socket import heard, ready, socket
from tests.postgres_proxy import Proxy

__all__ = ["desk_of_nobody"]

WAITS = """
import pathlib, time

@task.called
def work(context):
    notes = context.db.table("notes")
    note = notes.get("n1", realm="ada@example.com")
    notes.put({"id": "n2", "of": note and note["title"]}, realm="ada@example.com")
    notes.update("n1", {"count": note["count"] + 1}, realm="ada@example.com")
    if context.run.attempt == 1:
        print("has read")
        while not pathlib.Path(GATE).exists():
            time.sleep(0.01)
"""


@pytest.fixture
async def desk(desk_of_nobody: TaskDesk) -> TaskDesk:
    """An app where Ada and Bob live."""
    await inhabit(desk_of_nobody)
    return desk_of_nobody


async def inhabit(desk: TaskDesk) -> None:
    await desk.served.write(desk.app, {"userId": ADA, "type": "prod"}, {"userId": BOB, "type": "eval"})


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy("")
    yield made
    await asyncio.to_thread(made.close)


def gate_of(desk: TaskDesk) -> Path:
    return desk.folder.parent / "gate"


async def load(desk: TaskDesk, text: str) -> None:
    await desk.load(text.replace("GATE", repr(str(gate_of(desk)))))


async def done(desk: TaskDesk, name: str = "work", **parameters: object) -> Any:
    """What a called task returns."""
    run_id = await desk.call(name, msgspec.json.encode(parameters))
    shown = await desk.until(run_id, "done", "failed")
    assert shown.run.state == "done", shown.run.detail
    return msgspec.json.decode(shown.attempts[-1].reply)


async def failed(desk: TaskDesk, name: str = "work") -> str:
    """The sentence with which a called task fails."""
    return (await desk.until(await desk.call(name), "failed")).run.detail


async def stored(desk: TaskDesk, table: str = "notes") -> dict[str, Any]:
    """What is kept, by key."""
    page = await desk.served.gateway.db.read(
        partial(object_pages.page, app_id=desk.app.app_id, table=table, realm=None, after=None)
    )
    return {row.key: msgspec.json.decode(row.value or "null") for row in page.rows}


async def push(desk: TaskDesk, who: str = ADA, **notes: Mapping[str, object]) -> Device:
    """A device of somebody that has put notes."""
    device = Device(desk.served, desk.app, who)
    await device.sync()
    for key, value in notes.items():
        device.put("notes", key, {"id": key, **value})
    assert (await device.sync())["rejections"] == []
    return device


async def test_what_a_run_puts_changes_and_deletes_reaches_the_devices(desk: TaskDesk) -> None:
    phone = await push(desk, n1={"title": "milk", "at": {"shop": "A"}}, n2={"title": "old"})
    await desk.load(
        """
        @task.called
        def work(context):
            notes = context.db.table("notes")
            notes.put({"id": "n3", "title": "from a task"}, realm="Ada@Example.com")
            notes.update("n1", {"at.shop": "B", "done": True}, realm="ada@example.com")
            assert notes.delete("n2", realm="ada@example.com")
            assert not notes.delete("n9", realm="ada@example.com")
            return [each.value for each in notes.find(realm="ada@example.com")]
        """
    )
    mine = {"realmId": ADA, "owner": ADA}
    assert await done(desk) == [
        {"id": "n1", "title": "milk", "at": {"shop": "B"}, "done": True} | mine,
        {"id": "n3", "title": "from a task"} | mine,
    ]

    await phone.sync()

    assert phone.objects == {
        ("notes", "n1"): {"id": "n1", "title": "milk", "at": {"shop": "B"}, "done": True},
        ("notes", "n3"): {"id": "n3", "title": "from a task"},
    }
    assert set(await stored(desk)) == {"n1", "n3"}


async def test_an_open_client_hears_at_once_of_what_a_run_writes(desk: TaskDesk) -> None:
    phone = await push(desk)
    await desk.load(
        """
        @task.called
        def work(context):
            context.db.table("notes").put({"id": "n1", "title": "hello"}, realm="ada@example.com")
        """
    )
    async with socket(desk.served, desk.served.token(desk.app)) as connected:
        await ready(phone, connected)
        await done(desk)
        await heard(phone, connected)

    assert phone.objects == {("notes", "n1"): {"id": "n1", "title": "hello"}}


async def test_a_push_meanwhile_is_a_conflict_and_the_run_begins_again(desk: TaskDesk) -> None:
    phone = await push(desk, n1={"title": "milk", "count": 1})
    await load(desk, WAITS)
    run_id = await desk.call("work")
    await until(lambda: _said(desk, run_id))
    phone.put("notes", "n1", {"id": "n1", "title": "bread", "count": 10})
    await phone.sync()
    assert set(await stored(desk)) == {"n1"}

    gate_of(desk).touch()
    shown = await desk.until(run_id, "done", "failed")

    assert [each.outcome for each in shown.attempts] == ["conflict", "ok"]
    assert "'n1' of notes" in shown.attempts[0].detail
    notes = await stored(desk)
    assert (notes["n1"]["count"], notes["n2"]["of"]) == (11, "bread")


@pytest.mark.parametrize("returns", [False, True])
async def test_nothing_is_written_for_somebody_deleted_meanwhile(desk: TaskDesk, returns: bool) -> None:
    await push(desk, n1={"title": "milk", "count": 1})
    await load(desk, WAITS.replace("@task.called", "@task.called(retries=())"))
    run_id = await desk.call("work")
    await until(lambda: _said(desk, run_id))
    assert await delete_person(desk.served.gateway.db, desk.app.app_id, ADA, desk.served.hands())
    if returns:
        await desk.served.write(desk.app, {"userId": ADA, "type": "prod"})

    gate_of(desk).touch()
    shown = await desk.until(run_id, "failed")

    assert [each.outcome for each in shown.attempts] == ["conflict"]
    assert await stored(desk) == {}


async def test_runs_that_count_in_one_object_lose_nothing(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(at_once=8)
        def work(context):
            totals = context.db.table("totals")
            total = totals.get("t", realm="rlm-public")
            count = total["count"] if total else 0
            totals.put({"id": "t", "count": count + 1}, realm="rlm-public")
        """
    )
    ids = [await desk.call("work") for _ in range(8)]
    shown = [await desk.until(run_id, "done", "failed") for run_id in ids]

    assert [each.run.state for each in shown] == ["done"] * 8
    assert (await stored(desk, "totals"))["t"] == {"id": "t", "count": 8, "realmId": PUBLIC}


async def test_users_calls_and_objects_are_written_together_or_not_at_all(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called(retries=())
        def work(context):
            context.db.table("notes").put({"id": "n1"}, realm="ada@example.com")
            context.db.users.update("ada@example.com", type="eval")
            context.call(context.parameters.get("calls", "nobody"))

        @task.called
        def after(context):
            pass
        """
    )
    assert await failed(desk) == "There is no task 'nobody' that can be called."
    assert await stored(desk) == {}

    await done(desk, calls="after")
    assert set(await stored(desk)) == {"n1"}


async def test_a_run_whose_claim_was_overtaken_writes_no_object(desk: TaskDesk) -> None:
    await push(desk, n1={"title": "milk", "count": 1})
    await load(desk, WAITS)
    run_id = await desk.call("work")
    await until(lambda: _said(desk, run_id))
    assert (await desk.cancel(run_id)) is not None
    with capture_logs() as logs:
        gate_of(desk).touch()
        await overtaken(logs, run_id)

    assert (await stored(desk))["n1"]["count"] == 1


async def test_a_commit_whose_answer_was_lost_writes_an_object_once(
    served_postgres_url: str, tmp_path: Path, proxy: Proxy
) -> None:
    proxy.url = served_postgres_url
    async with tasks_at(proxy.start(), tmp_path / "tasks") as desk:
        await inhabit(desk)
        await push(desk, n1={"title": "milk", "count": 1})
        await load(desk, WAITS.replace('print("has read")', ""))
        run_id = await desk.call("work")
        await desk.until(run_id, "running")
        proxy.cut_after_commit = True
        gate_of(desk).touch()

        shown = await desk.until(run_id, "done")

        assert not proxy.cut_after_commit
        assert [each.outcome for each in shown.attempts] == ["ok"]
        assert (await stored(desk))["n1"]["count"] == 2


async def test_keys_are_made_where_the_table_makes_them(desk: TaskDesk) -> None:
    phone = Device(desk.served, desk.app)
    phone.put("todos", "tdo1", {"id": "tdo1"})
    await phone.sync()
    await desk.load(
        """
        @task.called
        def work(context):
            todo = context.db.table("todos").put({"title": "made"}, realm="ada@example.com")
            assert context.db.table("todos").get(todo.key) == todo
            return todo.key

        @task.called(retries=())
        def keyless(context):
            context.db.table("notes").put({"title": "made"}, realm="ada@example.com")
        """
    )
    key = await done(desk)
    assert key.startswith("tdo")
    assert (await stored(desk, "todos"))[key]["title"] == "made"
    assert "The object has no key at 'id'" in await failed(desk, "keyless")


async def test_private_names_and_compound_keys_are_kept_as_clients_keep_them(desk: TaskDesk) -> None:
    await desk.load(
        """
        @task.called
        def work(context):
            settings = context.db.table("settings")
            settings.put({"theme": "dark"}, realm="ada@example.com", key="#mine")
            settings.put({"theme": "light"}, realm="ada@example.com", key='["a", 1.0]')
            return settings.get("#mine", realm="ada@example.com")["theme"]

        @task.called
        def again(context):
            settings = context.db.table("settings")
            settings.update("#mine", {"theme": "grey"}, realm="ada@example.com")
            return settings.get('["a",1]')["theme"]
        """
    )
    beside = TableSetting(name="settings", primary_key="")
    await desk.served.gateway.db.write(
        partial(table_settings.put, app_id=desk.app.app_id, settings=[beside], now=desk.served.hands())
    )
    assert await done(desk) == "dark"
    assert await done(desk, "again") == "light"
    kept = await stored(desk, "settings")
    assert {key: value["theme"] for key, value in kept.items()} == {
        f"#mine:{ADA}": "grey",
        '["a",1]': "light",
    }


async def test_a_walk_passes_all_realms_in_pages_with_the_writes_of_the_run(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_rows, "PAGE_BYTES_MAX", 100)
    await push(desk, ADA, **{f"a{number}": {"n": number} for number in range(5)})
    await push(desk, BOB, **{f"b{number}": {"n": number} for number in range(5)})
    await desk.load(
        """
        @task.called
        def work(context):
            notes = context.db.table("notes")
            notes.put({"id": "z"}, realm="rlm-public")
            notes.delete("a1", realm="ada@example.com")
            for note in notes:
                if note.key == "b1":
                    notes.update(note, {"n": 100})
            ada = {"realm": "ada@example.com"}
            return [
                sorted((each.realm, each.key) for each in notes),
                [each.key for each in notes.find(**ada, after="a2")],
                [each.key for each in notes.find(**ada, limit=2)],
                notes.get("b1")["n"],
            ]
        """
    )
    everything, behind, few, changed = await done(desk)
    ours = [[ADA, f"a{number}"] for number in (0, 2, 3, 4)] + [[BOB, f"b{number}"] for number in range(5)]
    assert everything == [*ours, [PUBLIC, "z"]]
    assert (behind, few, changed) == (["a3", "a4"], ["a0", "a2"], 100)
    assert (await stored(desk))["b1"]["n"] == 100


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('put({"id": "n"}, realm="nobody@example.com")', "There is no user 'nobody@example.com'"),
        ('put({"id": "n" * 501}, realm="rlm-public")', "A key has 1 to 500 characters."),
        ('put({"id": "n", "t": "x" * 1_000_000}, realm="rlm-public")', "larger than 1,000,000 bytes"),
        ('put({"id": "n", "owner": 1, "__proto__": 1}, realm="rlm-public")', "__proto__"),
        ('put({"id": "n"})', "An object needs a realm"),
        ('put({"id": "shared"}, realm="ada@example.com")', "rlm-public has an object 'shared'"),
        ('update("n9", {"a": 1}, realm="ada@example.com")', "There is no such object in notes."),
    ],
)
async def test_what_no_object_can_be_is_told_where_it_is_asked_for(
    desk: TaskDesk, line: str, sentence: str
) -> None:
    await desk.load(
        f"""
        @task.called
        def public(context):
            context.db.table("notes").put({{"id": "shared"}}, realm="rlm-public")

        @task.called(retries=())
        def work(context):
            context.db.table("notes").{line}
        """
    )
    await done(desk, "public")
    told = await failed(desk)
    assert sentence in told
    assert "(tasks.py:" in told
    assert set(await stored(desk)) == {"shared"}


async def test_a_rehearsal_shows_the_writes_and_keeps_none(desk: TaskDesk) -> None:
    await push(desk, n1={"title": "milk"})
    await desk.load(
        """
        @task.called
        def work(context):
            notes = context.db.table("notes")
            notes.delete("n1", realm="ada@example.com")
            notes.put({"id": "n2"}, realm="ada@example.com")
            notes.put({"id": "n3"}, realm="ada@example.com")
            notes.delete("n3", realm="ada@example.com")
        """
    )
    rehearsal = await desk.runs.rehearse(desk.task("work"), Call(parameters=b"{}"))

    assert isinstance(rehearsal.result, Ended)
    [deleted, put] = rehearsal.changes
    assert isinstance(deleted, DeleteObject)
    assert isinstance(put, PutObject)
    assert (deleted.key, put.key, put.realm_id, put.version) == ("n1", "n2", ADA, "")
    assert set(await stored(desk)) == {"n1"}


async def test_a_process_that_lies_puts_nothing_that_others_could_not(desk: TaskDesk) -> None:
    await desk.load(
        """
        import msgspec
        from admit.task.wire import PutObject

        @task.called(retries=())
        def work(context):
            place = context.db.table("notes").put({"id": "n1"}, realm="ada@example.com")
            [change] = context.changes
            pending = context.effects.pending
            told = {key: value for key, value in context.parameters.items()}
            if "value" in told:
                told["value"] = told["value"].encode()
            lie = msgspec.structs.replace(change, **told)
            pending.add(("object", "notes", change.realm, "n1"), lie)
        """
    )
    for lie, outcome in [
        ({"value": '{"id": "n1", "realmId": "bob@example.com"}'}, "ok"),
        ({"value": '{"id": "n2"}'}, "refused_changes"),
        ({"value": "[1e999]"}, "refused_changes"),
        ({"table": "realms", "version": ""}, "refused_changes"),
        ({"key": "", "version": ""}, "refused_changes"),
        ({"realm": "rlm-public", "version": ""}, "conflict"),
        ({"realm": "usr_of_somebody", "version": ""}, "conflict"),
    ]:
        shown = await desk.until(await desk.call("work", msgspec.json.encode(lie)), "done", "failed")
        assert (lie, shown.attempts[-1].outcome) == (lie, outcome)
    assert (await stored(desk))["n1"]["realmId"] == ADA
    assert set(await stored(desk)) == {"n1"}


async def _said(desk: TaskDesk, run_id: str) -> list[str] | None:
    return await desk.said(run_id) or None
