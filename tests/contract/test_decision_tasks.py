"""A task that decides: asked about every unknown person, whichever way they come, as a web hook would be."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from admit.accounts import app_providers, apps, users
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import App
from admit.clock import new_id
from admit.enrollment import admissions, asking, ledger
from admit.enrollment.admissions import Login, Opened
from admit.enrollment.asking import Answer
from admit.enrollment.entries import Entry
from admit.enrollment.ledger import LedgerRow
from admit.enrollment.policy import NOBODY_DECIDED
from admit.enrollment.settlements import Late
from admit.errors import WEBHOOK_ERROR, Refused
from admit.storage.transaction import Transaction
from admit.tasks import run_pages
from tests.contract.served import Served
from tests.contract.task_desk import TaskDesk, desk, tasks_at
from tests.contract.test_door import proof, refused
from tests.contract.test_every_way_in import (
    GOOGLE,
    by_client_credentials,
    by_mailed_code,
    by_sso,
    by_token_exchange,
    choose,
    until,
)
from tests.contract.token_desk import events_of, signed_in

__all__ = ["desk"]

DECIDE = """
    @task.decides
    def decide(context):
        if context.email.startswith("eve"):
            return task.refuse("NOT_ON_THE_LIST", "You are not on the list.", reason="no row in the CRM")
        print("asked about", context.email)
        return task.admit("prod", data={"plan": "team"}, name="Ada Example")
"""


@dataclass
class House:
    """A desk whose app asks a task about unknown people."""

    desk: TaskDesk
    app: App

    @property
    def served(self) -> Served:
        return self.desk.served

    async def admit(self, name: str = "ada", *, number: int = 1) -> Login:
        return await self.served.gateway.door.admit(self.app, proof(name, device=number))

    async def ledger(self) -> list[LedgerRow]:
        return await self.served.gateway.db.read(
            lambda tx: ledger.page(tx, self.app.app_id, ledger.Query(), None, 500).rows
        )

    async def runs(self, **query: Any) -> list[run_pages.Run]:
        return await self.desk.page(**query)


async def house_with(desk: TaskDesk, code: str, task: str = "decide", **rules: Any) -> House:
    """Loads `code` and makes `task` the policy."""
    await desk.load(code)
    app = await choose(desk.served, desk.app, PolicySetting(kind="task", task=task, **rules))
    return House(desk, app)


# What a verdict means


async def test_an_admitted_person_gets_data_type_and_name_and_the_run_is_kept(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE)
    login = await house.admit()
    assert (login.user.type, login.user.name) == ("prod", "Ada Example")
    assert login.user.data is not None
    assert msgspec.json.decode(login.user.data) == {"plan": "team"}
    [row] = await house.ledger()
    assert (row.policy, row.verdict, row.attempts, row.uid) == ("task", "prod", 1, login.user.uid)
    assert row.reason == "The task decide answered prod."
    [run] = await house.runs(about=row.admission_id)
    assert (run.kind, run.task, run.state, run.uid) == ("decision", "decide", "done", login.user.uid)
    assert run.run_id == row.admission_id.replace("adm_", "run_")
    shown = await desk.show(run.run_id)
    assert [each.outcome for each in shown.attempts] == ["ok"]
    assert msgspec.json.decode(shown.attempts[0].reply)["data"] == {"plan": "team"}
    assert login.session is not None
    assert set(shown.abouts) == {row.admission_id, f"device:{login.session.device_id}"}
    assert await desk.said(run.run_id) == ["asked about ada@example.com"]
    assert [each.run_id for each in await house.runs(uid=login.user.uid)] == [run.run_id]
    told = await events_of(desk.served, house.app.app_id)
    assert told[0][1]["verdict"] == {"type": "prod", "source": "task", "admission_id": row.admission_id}


async def test_a_refusal_has_the_code_and_the_words_of_the_operator(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE)
    answer = await signed_in(desk.served, "eve@example.com")
    assert answer.status == 403
    assert (answer.json["code"], answer.json["message"]) == ("NOT_ON_THE_LIST", "You are not on the list.")
    [row] = await house.ledger()
    assert (row.verdict, row.code, row.reason) == ("refused", "NOT_ON_THE_LIST", "no row in the CRM")
    [run] = await house.runs(about=row.admission_id)
    assert (run.state, run.uid) == ("done", None)
    [(kind, told)] = await events_of(desk.served, house.app.app_id)
    assert (kind, told["verdict"]["source"], told["verdict"]["code"]) == (
        "user.refused",
        "task",
        "NOT_ON_THE_LIST",
    )


async def test_who_lives_here_is_asked_about_once(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE)
    first, again = await house.admit(), await house.admit()
    assert first.user.uid == again.user.uid
    assert len(await house.runs()) == 1


TELL = """
    @task.decides
    def decide(context):
        told = {
            "user_id": context.user_id,
            "verified": context.email_verified,
            "method": context.sign_in.method,
            "provider": context.sign_in.provider,
            "device": context.device and context.device.identifier,
            "deviceIdentifier": context.deviceIdentifier,
            "claims": dict(context.claims),
            "address": context.request.address,
        }
        return task.admit("prod", data=told)
"""


@pytest.mark.parametrize(
    ("come", "method", "provider"),
    [
        (by_mailed_code, "email_code", "email"),
        (by_client_credentials, "client_credentials", "client"),
        (by_sso, "sso", "google"),
        (by_token_exchange, "token_exchange", "google"),
    ],
)
async def test_a_task_decides_for_every_way_of_signing_in(
    desk: TaskDesk, come: Any, method: str, provider: str
) -> None:
    house = await house_with(desk, TELL)

    def add(tx: Transaction) -> None:
        apps.mark_changed(tx, house.app.app_id, desk.served.hands())
        app_providers.put(tx, desk.served.gateway.ring, house.app.app_id, GOOGLE, desk.served.hands())

    await desk.served.gateway.db.write(add)
    app = await until(desk.served, lambda now: "google" in now.providers)
    await come(desk.served, app)
    [row] = await house.ledger()
    assert (row.policy, row.verdict, row.method) == ("task", "prod", method)
    user = await desk.served.gateway.db.read_together(users.find_each, (app.app_id, row.user_id))
    assert user is not None
    assert user.data is not None
    told = msgspec.json.decode(user.data)
    assert (told["user_id"], told["method"], told["provider"]) == (row.user_id, method, provider)
    if method != "client_credentials":
        assert told["device"] == told["deviceIdentifier"] != ""
    if provider == "google":
        assert told["claims"]["groups"] == ["engineering"]


# What cannot be had


FAULTS = {
    "raises": ('raise RuntimeError("the CRM is down")', "raised RuntimeError: the CRM is down"),
    "crashes": ("import os; os._exit(3)", "ended itself"),
    "loops": ("while True: pass", "still running after"),
    "eats memory": ("bytearray(400_000_000)", "needed more than"),
    "returns nothing": ("return None", "decide"),
    "returns a dict": ('return {"decision": "admit", "type": "prod"}', "decide"),
    "exits": ("raise SystemExit(1)", "SystemExit"),
    "calls": ('context.call("other"); return task.admit("prod")', "decide"),
    "writes": ('context.db.users.create("x@example.com"); return task.admit("prod")', "decide"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_task_that_fails_keeps_people_out_and_the_ledger_names_the_fault(
    fault: str, served_url: str, tmp_path: Path
) -> None:
    body, says = FAULTS[fault]
    async with tasks_at(served_url, tmp_path / "tasks", tasks_memory_mb="256") as desk:
        house = await house_with(
            desk, f"@task.decides\ndef decide(context):\n    {body}\n", timeout_seconds=1.5
        )
        error = await refused(house.admit())
        assert (error.code, error.message) == (WEBHOOK_ERROR, NOBODY_DECIDED)
        [row] = await house.ledger()
        assert says in row.reason
        [run] = await house.runs(about=row.admission_id)
        assert run.state == "failed"
        assert row.attempts <= asking.ATTEMPTS_MAX
        await choose(
            desk.served,
            house.app,
            PolicySetting(kind="task", task="decide", timeout_seconds=1, on_failure="eval"),
        )
        house.app = await desk.served.gateway.directory.app("notes")
        assert (await house.admit("grace")).user.type == "eval"


async def test_a_task_that_raises_is_tried_three_times_within_the_budget(desk: TaskDesk) -> None:
    house = await house_with(
        desk,
        """
        @task.decides
        def decide(context):
            if context.run.attempt < 3:
                raise RuntimeError("not yet")
            return task.admit("prod")
        """,
    )
    login = await house.admit()
    assert login.user.type == "prod"
    [row] = await house.ledger()
    assert row.attempts == 3
    shown = await desk.show((await house.runs())[0].run_id)
    assert [(each.attempt, each.outcome) for each in shown.attempts] == [
        (1, "raised"),
        (2, "raised"),
        (3, "ok"),
    ]


LIE = """
    @task.decides
    def decide(context):
        return task.admit("prod")
"""


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"null",
        b'{"decision":"admit","type":"owner"}',
        b'{"decision":"admit","type":"prod","data":[1]}',
        b'{"decision":"refuse","code":"x","message":"y"}',
        b'{"decision":"refuse","code":"X","message":"\\u001b[2J"}',
    ],
)
async def test_a_process_that_lies_about_its_answer_is_not_believed(
    desk: TaskDesk, result: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As code could that writes to the socket of its process itself."""
    house = await house_with(desk, LIE)
    workshop = desk.served.gateway.workshop
    assert workshop is not None
    honest = workshop.run

    async def lying(*arguments: Any) -> Any:
        return replace(await honest(*arguments), result=result)

    monkeypatch.setattr(workshop, "run", lying)
    assert (await refused(house.admit())).code == WEBHOOK_ERROR
    [row] = await house.ledger()
    [run] = await house.runs(about=row.admission_id)
    assert run.detail == row.reason
    [attempt] = (await desk.show(run.run_id)).attempts
    assert attempt.outcome == "no_decision"


async def test_a_task_that_is_not_there_or_does_not_decide_is_a_fault(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE + "\n    @task.called\n    def other(context): pass\n", "missing")
    await refused(house.admit())
    house.app = await choose(desk.served, house.app, PolicySetting(kind="task", task="other"))
    await refused(house.admit())
    rows = [row.reason for row in await house.ledger()]
    assert sorted(rows) == [
        "The task other does not decide: it lacks @task.decides.",
        "notes has no task missing on this server.",
    ]


async def test_code_that_never_loaded_is_told_in_the_ledger(desk: TaskDesk) -> None:
    (desk.folder / "notes").mkdir()
    (desk.folder / "notes" / "door.py").write_text("import nothing_of_that_name\n")
    assert desk.served.gateway.registry is not None
    await desk.served.gateway.registry.load()
    house = House(desk, await choose(desk.served, desk.app, PolicySetting(kind="task", task="decide")))
    await refused(house.admit())
    [row] = await house.ledger()
    assert "nothing_of_that_name" in row.reason


async def test_a_newer_version_that_is_broken_leaves_the_last_good_one_deciding(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE)
    (desk.folder / "notes" / "tasks.py").write_text("this is no Python\n")
    assert desk.served.gateway.registry is not None
    [report] = await desk.served.gateway.registry.load()
    assert report.problems
    assert (await house.admit()).user.type == "prod"


async def test_a_server_without_tasks_keeps_people_out_in_a_sentence(served: Served) -> None:
    app = await served.app()
    app = await choose(served, app, PolicySetting(kind="task", task="decide"))
    with pytest.raises(Refused) as caught:
        await served.gateway.door.admit(app, proof())
    assert caught.value.code == WEBHOOK_ERROR
    [row] = await served.gateway.db.read(
        lambda tx: ledger.page(tx, app.app_id, ledger.Query(), None, 10).rows
    )
    assert row.reason == "This server runs no tasks: its setting TASKS is empty."


# Rivals


async def test_fifty_rivals_ask_the_task_once(desk: TaskDesk) -> None:
    house = await house_with(desk, DECIDE)
    logins = await asyncio.gather(*(house.admit(number=number) for number in range(1, 51)))
    assert len({login.user.uid for login in logins}) == 1
    assert len(await house.ledger()) == len(await house.runs()) == 1


async def test_tasks_that_loop_do_not_hold_up_who_decides(desk: TaskDesk) -> None:
    """Runs in the queue find no more places than they may have; the policy asks a task that is not one of
    them."""
    house = await house_with(
        desk,
        DECIDE
        + """
    @task.called(timeout=60, at_once=64, retries=[])
    def loop(context):
        while True:
            pass
""",
    )
    looping = [await desk.call("loop") for _ in range(12)]
    await desk.until(looping[0], "running")
    async with asyncio.timeout(10):
        assert (await house.admit()).user.type == "prod"
    for run_id in looping:
        await desk.cancel(run_id)


async def test_a_late_verdict_is_noted_and_its_run_says_what_it_was(
    desk: TaskDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has taken the admission over while the task was asked, and has asked it, too."""
    house = await house_with(desk, DECIDE)
    honest, door = asking.ask, desk.served.gateway.door

    async def overtaken(*arguments: Any) -> Answer:
        answer = await honest(*arguments)
        monkeypatch.setattr(asking, "ask", honest)
        rival = replace(entry, admission_id=new_id("adm"), now=entry.lease_until + 1)
        taken = await desk.served.gateway.db.write_together(admissions.enter, rival)
        assert isinstance(taken, Opened)
        assert taken.fence == 2
        await door._decide_and_settle(rival, taken)
        return answer

    entry: Entry = door._entry(house.app, proof(), "key")
    opened = await desk.served.gateway.db.write_together(admissions.enter, entry)
    assert isinstance(opened, Opened)
    monkeypatch.setattr(asking, "ask", overtaken)
    assert isinstance(await door._decide_and_settle(entry, opened), Late)
    [row] = await house.ledger()
    assert (row.late, row.verdict) == ("prod", "prod")
    [run] = await house.runs()
    assert (run.state, run.uid) == ("done", row.uid)
    shown = await desk.show(run.run_id)
    assert [each.attempt for each in shown.attempts] == [1, 4]


# Its runs


async def test_runs_about_a_person_go_with_them(desk: TaskDesk) -> None:
    from admit.enrollment.departures import delete_person

    house = await house_with(desk, DECIDE)
    login = await house.admit()
    [run] = await house.runs()
    await delete_person(desk.served.gateway.db, house.app.app_id, login.user.user_id, desk.served.hands())
    assert await desk.lines(job_id=run.run_id) == []
    assert {each.reply for each in (await desk.show(run.run_id)).attempts} == {""}


async def test_a_task_of_one_way_in_decides_about_those_alone(desk: TaskDesk) -> None:
    await desk.load(DECIDE)
    await choose(desk.served, desk.app, PolicySetting(kind="eval"))
    own = PolicySetting(kind="task", task="decide")
    app = await choose(desk.served, desk.app, own, way_in="email_code")
    login = await desk.served.gateway.door.admit(app, proof())
    client = await by_client_credentials(desk.served, app)
    assert login.user.type == "prod"
    assert client is not None
    kept = await desk.served.gateway.db.read(
        lambda tx: ledger.page(tx, app.app_id, ledger.Query(), None, 10).rows
    )
    assert {row.way_in: row.policy for row in kept}["email_code"] == "task"


# Setting it


async def test_a_policy_that_names_no_task_that_decides_is_refused_where_tasks_are_known(
    desk: TaskDesk,
) -> None:
    await desk.load(DECIDE + "\n    @task.called\n    def other(context): pass\n")
    served, headers = desk.served, desk.served.command()

    async def put(task: str) -> tuple[int, str]:
        body = msgspec.json.encode({"kind": "task", "task": task, "timeout_seconds": 3})
        answer = await served.ask("PUT", "/api/apps/notes/policy", data=body, headers=headers)
        return answer.status, answer.json.get("message", answer.json.get("policy", {}).get("task"))

    assert await put("decide") == (200, "decide")
    assert await put("missing") == (400, "notes has no task missing. Those that decide: decide.")
    assert await put("other") == (400, "The task other of notes does not decide: it lacks @task.decides.")


async def test_a_simulation_names_the_task_and_what_it_would_be_told(desk: TaskDesk) -> None:
    await house_with(desk, DECIDE)
    body = msgspec.json.encode({"email": "new@example.com"})
    headers = desk.served.command()
    answer = await desk.served.ask("POST", "/api/apps/notes/policy/simulation", data=body, headers=headers)
    assert (answer.json["outcome"], answer.json["task"]) == ("ask", "decide")
    assert answer.json["told"]["user_id"] == "new@example.com"
    assert "admission_id" not in answer.json["told"]
    assert await desk.page() == []
