"""Whom web hooks of the data model tell: endpoints as JourneyApps would, and tasks."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select

from admit.accounts import users
from admit.accounts.tables import sessions
from admit.accounts.users import User
from admit.data import writing
from admit.data.authors import Author
from admit.data.operations import Batch, Operation
from admit.webhooks.journey_keys import PUBLISHED_AFTER_MS, PUBLISHED_AHEAD_MS
from admit.webhooks.tables import journey_keys
from tests.contract.model_desk import TASKS, operation
from tests.contract.served import Served, serving
from tests.contract.task_desk import TaskDesk, desk, until
from tests.contract.test_endpoints_api import api, create, headers_of, verify
from tests.contract.token_desk import signed_in
from tests.receivers import Receiver, Request, answering, receiver, response

__all__ = ["desk"]

READY = """
[[models.task.webhooks]]
type = "ready"
fields = [{ name = "title" }]
"""
EMAIL = "ada@example.com"


async def set_model(served: Served, source: str) -> Any:
    answer = await api(served, "PUT", "notes/model", {"source": source})
    assert answer.status == 200, answer.body
    return answer.json


async def ada(served: Served) -> tuple[User, Author]:
    """Ada, signed in by a mailed code, and she as an author by that session."""
    await signed_in(served, EMAIL)
    app = await served.gateway.directory.app("notes")
    find = partial(users.by_user_id, keys=[(app.app_id, EMAIL)])
    user = (await served.gateway.db.read(find))[app.app_id, EMAIL]
    which = select(sessions.c.session_id).where(sessions.c.uid == user.uid)
    session_id = await served.gateway.db.read(lambda tx: tx.execute(which).scalar_one())
    return user, Author(uid=user.uid, user_id=user.user_id, session_id=session_id)


async def write(served: Served, user: User, author: Author, *operations: Operation) -> None:
    batch = Batch(
        app_id=user.app_id,
        realm=user.uid,
        realm_id=user.user_id,
        author=author,
        operations=operations,
        now=served.hands(),
    )
    written = await served.gateway.db.write_together(writing.write, batch)
    assert not written.rejections, written.rejections


@asynccontextmanager
async def listening(served: Served, hook: str, **chosen: Any) -> AsyncIterator[tuple[Receiver, Any]]:
    """A receiver of a hook, and its endpoint."""
    async with receiver(answering(response())) as here:
        yield here, await create(served, url=here.url(), format="journeyapps", hook=hook, **chosen)


async def requests(here: Receiver, number: int) -> list[Request]:
    async def found() -> list[Request] | None:
        return here.requests if len(here.requests) >= number else None

    return list(await until(found))


def rsa_checks(public_pem: str) -> Callable[[Request], bool]:
    public = load_pem_public_key(public_pem.encode())
    assert isinstance(public, RSAPublicKey)

    def check(request: Request) -> bool:
        signature = base64.b64decode(headers_of(request)["x-journey-signature-rsa-sha256"])
        try:
            public.verify(signature, request.body, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    return check


async def published(served: Served) -> list[dict[str, Any]]:
    answer = await served.ask("GET", "/notes/.well-known/webhook-keys.json")
    return [each for each in answer.json["keys"] if each["kty"] == "RSA"]


async def test_an_endpoint_of_a_hook_is_told_and_can_verify_it_as_at_journeyapps(served: Served) -> None:
    app = await served.app()
    await set_model(served, TASKS + READY)
    user, author = await ada(served)
    async with listening(served, "task_ready") as (here, made):
        await write(served, user, author, operation("insert", "t1", title="Call Grace"))
        (request,) = await requests(here, 1)

    body = json.loads(request.body)
    assert body == {
        "event": "task_ready",
        "server": served.gateway.host,
        "app": "notes",
        "app_id": app.app_id,
        "account_id": app.app_id,
        "sequence": body["sequence"],
        "operation": "create",
        "object": {
            "id": "t1",
            "type": "task",
            "title": "Call Grace",
            "updated_at": body["object"]["updated_at"],
        },
    }
    assert isinstance(body["sequence"], str)
    headers = headers_of(request)
    # What a receiver for JourneyApps does: createHmac("sha256", SECRET).update(rawBody).digest("hex")
    expected = hmac.digest(made["secret"].encode(), request.body, "sha256").hex()
    assert headers["x-journey-signature"] == expected
    (key,) = await published(served)
    assert rsa_checks(key["pem"])(request)
    assert not rsa_checks(key["pem"])(Request(request.head, request.body + b" "))
    verify(request, made["secret"])
    shown = (await api(served, "GET", f"notes/endpoints/{made['id']}")).json
    assert (shown["hook"], shown["format"], shown["events"]) == (
        "task_ready",
        "journeyapps",
        ["object.ready"],
    )
    assert "hook" not in shown["filter"]


async def test_an_endpoint_of_one_hook_hears_of_no_other_and_others_of_none(served: Served) -> None:
    await served.app()
    second = READY.replace('type = "ready"', 'type = "ready"\nname = "second"')
    await set_model(served, TASKS + READY + second)
    user, author = await ada(served)
    async with listening(served, "second") as (here, _), receiver(answering(response())) as everybody:
        await create(served, url=everybody.url())
        await write(served, user, author, operation("insert", "t1", title="A"))
        named = await create(served, url=everybody.url("127.0.0.1"), events=["object.ready"], format="thin")
        await write(served, user, author, operation("insert", "t2", title="B"))
        told = await requests(everybody, 2)
        assert [json.loads(each.body)["event"] for each in await requests(here, 2)] == ["second"] * 2
    assert [json.loads(each.body)["data"]["hook"] for each in told] == ["task_ready", "second"]
    assert "title" not in json.loads(told[0].body)["data"]["object"]
    assert named["hook"] == ""


async def test_a_change_of_the_model_reaches_the_endpoints_that_are_there(served: Served) -> None:
    await served.app()
    await set_model(served, TASKS + READY)
    user, author = await ada(served)
    async with listening(served, "task_ready") as (here, made):
        view = await set_model(served, TASKS)
        assert view["hooks"] == []
        await write(served, user, author, operation("insert", "t1", title="A"))
        updates = READY.replace('"ready"', '"update"\nname = "task_ready"')
        view = await set_model(served, TASKS + updates)
        assert [each["endpoints"] for each in view["hooks"]] == [[made["id"]]]
        await write(served, user, author, operation("update", "t1", title="B"))
        await write(served, user, author, operation("update", "t1", title="C"))
        told = await requests(here, 2)
    assert [json.loads(each.body)["object"]["title"] for each in told] == ["B", "C"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"format": "journeyapps"}, "hook_refused"),
        ({"hook": "task_ready"}, "hook_refused"),
        ({"hook": "task_ready", "format": "full"}, "hook_refused"),
        ({"hook": "task_ready", "format": "journeyapps", "events": ["user.enrolled"]}, "hook_refused"),
        ({"hook": "task_ready", "format": "journeyapps", "once": "user"}, "hook_refused"),
        ({"hook": "task_redy", "format": "journeyapps"}, "hook_unknown"),
        ({"filter": {"hook": {"name": "task_ready"}}}, "filter_refused"),
    ],
)
async def test_endpoints_that_cannot_be_of_a_hook_are_refused(
    served: Served, body: dict[str, Any], code: str
) -> None:
    await served.app()
    await set_model(served, TASKS + READY)
    refused = await api(served, "POST", "notes/endpoints", {"url": "https://crm.example.com/"} | body)
    assert (refused.status, refused.json["code"]) == (400, code)
    if code == "hook_unknown":
        assert "Is 'task_ready' meant?" in refused.json["message"]


async def test_the_format_of_an_endpoint_of_a_hook_stays(served: Served) -> None:
    await served.app()
    await set_model(served, TASKS + READY + READY.replace('type = "ready"', 'type = "update"'))
    async with listening(served, "task_ready") as (_, made):
        where = f"notes/endpoints/{made['id']}"
        assert (await api(served, "PUT", where, {"format": "thin"})).status == 400
        assert (await api(served, "PUT", where, {"events": ["user.enrolled"]})).status == 400
        changed = (await api(served, "PUT", where, {"hook": "task_update"})).json
        assert (changed["hook"], changed["events"]) == ("task_update", ["object.updated"])
        changed = (await api(served, "PUT", where, {"description": "x"})).json
        assert (changed["hook"], changed["description"]) == ("task_update", "x")


async def test_a_trial_sends_an_example_of_the_hook(served: Served) -> None:
    await served.app()
    people = '[[models.user.webhooks]]\ntype = "ready"\n'
    await set_model(served, TASKS + READY + people)
    for hook, kind in (("task_ready", "task"), ("user_ready", "user")):
        async with listening(served, hook) as (here, made):
            trial = await api(served, "POST", f"notes/endpoints/{made['id']}/test", {})
            assert trial.json["delivered"], trial.body
            body = json.loads(here.requests[0].body)
            assert (body["event"], body["test"], body["object"]["type"]) == (hook, True, kind)
            sent = hmac.digest(made["secret"].encode(), here.requests[0].body, "sha256").hex()
            assert headers_of(here.requests[0])["x-journey-signature"] == sent


async def test_an_endpoint_with_a_key_pair_is_sent_no_hmac_under_its_private_key(served: Served) -> None:
    await served.app()
    await set_model(served, TASKS + READY)
    async with listening(served, "task_ready", signature="ed25519") as (here, made):
        await api(served, "POST", f"notes/endpoints/{made['id']}/test", {})
        headers = headers_of(here.requests[0])
    assert "x-journey-signature" not in headers
    assert "x-journey-signature-rsa-sha256" in headers


async def test_a_new_key_is_published_before_it_signs_and_the_former_one_after(served: Served) -> None:
    await served.app()
    await set_model(served, TASKS + READY)
    async with listening(served, "task_ready") as (here, made):
        where = f"notes/endpoints/{made['id']}/test"
        (first,) = await published(served)
        assert (await api(served, "POST", "notes/model/key", {})).status == 204
        pems = {each["pem"] for each in await published(served)}
        assert len(pems) == 2
        (second,) = pems - {first["pem"]}
        await api(served, "POST", where, {})
        assert rsa_checks(first["pem"])(here.requests[0])
        served.hands.move(seconds=PUBLISHED_AHEAD_MS / 1_000 + 1)
        await api(served, "POST", where, {})
        assert rsa_checks(second)(here.requests[1])
        assert len(await published(served)) == 2
        served.hands.move(seconds=PUBLISHED_AFTER_MS / 1_000)
        assert [each["pem"] for each in await published(served)] == [second]


async def test_the_key_of_an_app_is_sealed_and_no_other_apps(served: Served) -> None:
    await served.app()
    await served.app("plans")
    await set_model(served, TASKS + READY)
    async with listening(served, "task_ready"), listening(served, "task_ready"):
        assert len(await published(served)) == 1
    assert (await served.ask("GET", "/plans/.well-known/webhook-keys.json")).json == {"keys": []}
    rows = await served.gateway.db.read(lambda tx: tx.execute(select(journey_keys)).all())
    assert all("PRIVATE" not in row.sealed and row.sealed.count(".") for row in rows)


PEOPLE = """
[[models.user.webhooks]]
type = "ready"
fields = ["data.plan"]

[[models.device.webhooks]]
type = "ready"
fields = [{ name = "user", embed = true }]

[[models.session.webhooks]]
type = "update"
fields = [{ name = "device.platform" }]

[[models.enrollment.webhooks]]
type = "ready"
fields = ["user.email", "device"]
"""


async def test_user_device_session_and_enrollment_have_hooks(served: Served) -> None:
    await served.app()
    await set_model(served, PEOPLE)
    async with (
        listening(served, "user_ready") as (of_user, _),
        listening(served, "device_ready") as (of_device, _),
        listening(served, "session_update") as (of_session, _),
        listening(served, "enrollment_ready") as (of_enrollment, _),
    ):
        user, author = await ada(served)
        (device,) = await requests(of_device, 1)
        (enrollment,) = await requests(of_enrollment, 1)
        app = await served.gateway.directory.app("notes")
        await served.write(app, {"userId": EMAIL, "data": {"plan": "team"}})
        await served.write(app, {"userId": EMAIL, "data": {"plan": "solo"}})
        (ready,) = await requests(of_user, 1)
    told = json.loads(device.body)
    assert (told["event"], told["operation"], told["object"]["type"]) == ("device_ready", "create", "device")
    assert told["object"]["user"]["uid"] == user.uid
    told = json.loads(enrollment.body)["object"]
    assert (told["id"], told["type"], told["user"]) == (
        author.session_id,
        "enrollment",
        {"id": EMAIL, "type": "user", "email": EMAIL},
    )
    assert told["device_id"] == told["device"]["id"]
    told = json.loads(ready.body)
    assert (told["event"], told["object"]["id"], told["object"]["data"]) == (
        "user_ready",
        EMAIL,
        {"plan": "team"},
    )
    assert len(of_user.requests) == 1
    assert of_session.requests == []


CODE = """
    @task.called(retries=(0,))
    def follow(context):
        told = context.parameters
        if told["object"].get("title") == "fails once" and context.run.attempt == 1:
            raise ValueError("not yet")
        context.log.info(told["event"] + " of " + told["object"]["id"])
        return told
"""
STARTS = """
[[models.task.webhooks]]
type = "ready"
receiver = "task"
action = "follow"
fields = ["title", { name = "user", required = false }]
"""
HOOK = "task_task_ready_follow"


async def follow_runs(desk: TaskDesk, number: int) -> list[Any]:
    return await desk.all_done("follow", number)


async def test_a_hook_starts_a_task_once_with_its_payload(desk: TaskDesk) -> None:
    await desk.load(CODE)
    view = await set_model(desk.served, TASKS + STARTS)
    assert [(each["name"], each["task_declared"]) for each in view["hooks"]] == [(HOOK, True)]
    user, author = await ada(desk.served)
    await write(desk.served, user, author, operation("insert", "t1", title="A"))
    await write(desk.served, user, author, operation("upsert", "t1", title="B"))
    await write(desk.served, user, author, operation("insert", "t2", title="fails once"))

    runs = await follow_runs(desk, 2)
    assert [(each.kind, each.by, each.uid, each.attempts) for each in runs] == [
        ("event", f"hook:{HOOK}", user.uid, 1),
        ("event", f"hook:{HOOK}", user.uid, 2),
    ]
    said = [await desk.said(each.run_id) for each in runs]
    assert [HOOK in each[0] for each in said] == [True, True]
    shown = await desk.served.ask(
        "GET", f"/api/apps/notes/runs/{runs[0].run_id}", headers=desk.served.command()
    )
    assert shown.json["by"] == f"hook:{HOOK}"
    assert shown.json["event_id"]


async def test_a_hook_whose_task_comes_later_starts_it_from_then_on(desk: TaskDesk) -> None:
    view = await set_model(desk.served, TASKS + STARTS)
    assert [each["task_declared"] for each in view["hooks"]] == [False]
    user, author = await ada(desk.served)
    await write(desk.served, user, author, operation("insert", "t1", title="A"))
    await desk.load(CODE)
    await write(desk.served, user, author, operation("insert", "t2", title="B"))
    (run,) = await follow_runs(desk, 1)
    assert "t2" in (await desk.said(run.run_id))[0]


async def test_runs_of_a_hook_that_the_model_no_longer_has_end(desk: TaskDesk) -> None:
    await desk.load(CODE)
    await set_model(desk.served, TASKS + STARTS)
    user, author = await ada(desk.served)
    await api(desk.served, "POST", "notes/tasks/follow/pause")
    await write(desk.served, user, author, operation("insert", "t1", title="A"))
    await set_model(desk.served, TASKS)
    await write(desk.served, user, author, operation("insert", "t2", title="B"))
    await api(desk.served, "POST", "notes/tasks/follow/resume")

    async def ended() -> Any:
        runs = await desk.page(task_id=desk.task("follow").task_id)
        return runs if runs and all(each.state == "failed" for each in runs) else None

    (run,) = await until(ended)
    assert HOOK in run.detail


async def test_a_task_is_started_by_people_too_once_for_each_hook(desk: TaskDesk) -> None:
    await desk.load(CODE)
    hooks = "".join(
        f'[[models.{each}.webhooks]]\ntype = "ready"\nreceiver = "task"\naction = "follow"\n'
        for each in ("user", "enrollment")
    )
    await set_model(desk.served, hooks)
    await ada(desk.served)
    runs = await follow_runs(desk, 2)
    assert {each.by for each in runs} == {
        "hook:task_user_ready_follow",
        "hook:task_enrollment_ready_follow",
    }


async def test_a_hook_that_was_missed_is_told_again(served: Served) -> None:
    await served.app()
    await set_model(served, TASKS + READY)
    user, author = await ada(served)
    async with listening(served, "task_ready") as (here, made):
        where = f"notes/endpoints/{made['id']}/state"
        assert (await api(served, "PUT", where, {"state": "paused"})).status == 200
        await write(served, user, author, operation("insert", "t1", title="A"))
        assert (await api(served, "PUT", where, {"state": "enabled"})).status == 200
        (request,) = await requests(here, 1)
    assert json.loads(request.body)["object"]["title"] == "A"


async def test_a_run_that_came_while_no_server_was_there_is_begun_when_one_is(
    served_url: str, tmp_path: Path
) -> None:
    async with serving(served_url, tasks=str(tmp_path), tasks_reload="command") as served:
        first = TaskDesk(served, await served.app(), tmp_path)
        await first.load(CODE)
        await set_model(served, TASKS + STARTS)
        user, author = await ada(served)
        await write(served, user, author, operation("insert", "t1", title="A"))
        await follow_runs(first, 1)
    async with serving(served_url) as served:
        await write(served, user, author, operation("insert", "t2", title="B"))
    async with serving(served_url, tasks=str(tmp_path), tasks_reload="command") as served:
        second = TaskDesk(served, first.app, tmp_path)
        task_id = (await second.page())[0].task_id

        async def done() -> Any:
            runs = await second.page(task_id=task_id)
            return runs if [each.state for each in runs] == ["done", "done"] else None

        await until(done)
