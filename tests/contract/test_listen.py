"""`admit listen` and `admit event tail`: real commands follow a server and outlive what befalls it."""

import asyncio
import json
import os
import pty
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.commands import CLEAN, Runner
from tests.contract.command_line import ADMIT, CommandLine
from tests.contract.served import SECRET_KEY, Served, serving
from tests.contract.test_admin_api import api, operator_token
from tests.contract.token_desk import signed_in
from tests.receiver import Received, always, in_turn, receiving

WAIT_SECONDS = 30
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Running:
    """A command that does not end by itself."""

    process: Process

    async def line(self) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WAIT_SECONDS)
        assert line, "the command has ended"
        return line.decode().rstrip("\n")

    async def json(self) -> Any:
        return json.loads(await self.line())

    async def said(self) -> str:
        """The next line of what it says beside its output."""
        assert self.process.stderr is not None
        line = await asyncio.wait_for(self.process.stderr.readline(), WAIT_SECONDS)
        return line.decode().rstrip("\n")


@asynccontextmanager
async def command(*arguments: str, **environ: str) -> AsyncIterator[Running]:
    """Runs `admit` until the block ends; `environ` is named without ADMIT_ and in small letters."""
    given = {f"ADMIT_{name.upper()}": value for name, value in environ.items()}
    process = await asyncio.create_subprocess_exec(
        *ADMIT, *arguments, stdout=PIPE, stderr=PIPE, env=CLEAN | given
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def listening(served: Served, forward: str, *more: str) -> AsyncIterator[tuple[Running, str]]:
    """`admit listen` at work, and the secret that it signs with."""
    token = await operator_token(served, "events:read", app="notes")
    arguments = ("listen", "notes", "--forward", forward, "--json", *more)
    async with command(*arguments, url=served.url, token=token) as running:
        begun = await running.json()
        assert begun["forward"] == forward
        yield running, begun["secret"]


def verified(secret: str, received: Received) -> Any:
    """What was received, once the published library has found the signature right."""
    return Webhook(secret).verify(received.body, received.headers)


async def test_enrollment_arrives_at_a_laptop_with_a_valid_signature(served: Served) -> None:
    await served.app()
    async with (
        receiving(always()) as receiver,
        listening(served, receiver.url, "--events", "user.enrolled,session.started") as (running, secret),
    ):
        await signed_in(served, "ada@example.com")
        told = [await running.json(), await running.json()]

    first, second = receiver.calls
    body = verified(secret, first)
    (event, *_) = (await api(served, "GET", "apps/notes/events?format=thin")).json["events"]
    assert body == {name: event[name] for name in ("type", "timestamp", "data")}
    assert first.headers["webhook-id"] == event["id"]
    assert first.headers["content-type"] == "application/json"
    assert body["data"]["user"].keys() == {"uid", "user_id", "type"}
    assert verified(secret, second)["type"] == "session.started"
    assert [(each["type"], each["status"]) for each in told] == [
        ("user.enrolled", 200),
        ("session.started", 200),
    ]
    assert told[0]["id"] == event["id"]
    tampered = Received(first.headers, first.body.replace(b"user.enrolled", b"user.expelled"))
    with pytest.raises(WebhookVerificationError):
        verified(secret, tampered)


async def test_full_events_under_a_secret_that_was_given(door: Served) -> None:
    await door.app()
    async with (
        receiving(always()) as receiver,
        listening(door, receiver.url, "--full", "--secret", SECRET, "--events=user.enrolled") as (
            running,
            secret,
        ),
    ):
        await signed_in(door, "ada@example.com")
        await running.json()

    assert secret == SECRET
    assert verified(SECRET, receiver.calls[0])["data"]["user"]["email"] == "ada@example.com"


async def test_listening_goes_on_whatever_the_receiver_answers(door: Served) -> None:
    await door.app()
    script = in_turn(always(status=500), always(status=301, headers={"Location": "/"}), always(status=204))
    async with receiving(script) as receiver, listening(door, receiver.url) as (running, _):
        await signed_in(door, "ada@example.com")
        statuses = [(await running.json())["status"] for _ in range(3)]

    assert statuses == [500, 301, 204]


async def test_receiver_that_is_not_there_yet_is_tried_again_and_then_passed_over(door: Served) -> None:
    await door.app()
    async with receiving(always()) as gone:
        forward = gone.url
    async with listening(door, forward, "--events", "user.enrolled") as (running, _):
        await signed_in(door, "ada@example.com")
        failed = await running.json()
        await signed_in(door, "bob@example.com")
        failed_again = await running.json()

    assert failed["status"] is None
    assert "no connection to 127.0.0.1" in failed["problem"]
    assert failed_again["id"] != failed["id"]


async def test_listening_goes_on_after_a_restore_and_says_what_it_cannot_know(door: Served) -> None:
    await door.app()
    async with (
        receiving(always()) as receiver,
        listening(door, receiver.url, "--events", "user.enrolled") as (running, _),
    ):
        await signed_in(door, "ada@example.com")
        await running.json()
        while not door.gateway.news.waiting:
            await asyncio.sleep(0.01)
        assert (await api(door, "POST", "apps/notes/events/restored")).status == 200
        assert (await running.said()).endswith("Going on with what comes now.")
        while not door.gateway.news.waiting:
            await asyncio.sleep(0.01)
        await signed_in(door, "bob@example.com")
        assert (await running.json())["status"] == 200


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--forward", "foo"], "--forward is the URL of your receiver, such as http://localhost:3000/hooks"),
        (["--forward", "localhost:3000"], "--forward is the URL of your receiver"),
        (["--forward", "ftp://localhost"], "--forward is the URL of your receiver"),
        (["--forward", "http:///hooks"], "--forward is the URL of your receiver"),
        (["--forward", "http://user:word@localhost"], "--forward: The URL must not contain a user name"),
        (["--forward", "http://169.254.169.254:99999/"], "--forward: "),
        (["--forward", "http://localhost:9/", "--secret", "whsec_short"], "--secret cannot be used"),
    ],
)
def test_url_or_secret_that_cannot_be_used_is_refused(
    arguments: list[str], problem: str, admit: CommandLine
) -> None:
    assert admit.refused("listen", "notes", *arguments, code=2).startswith(problem)


@pytest.fixture
def admit(runner: Runner, tmp_path: Path) -> CommandLine:
    """A command line in an empty folder."""
    return CommandLine(runner, tmp_path)


def test_without_a_server_tail_and_listen_say_that_nothing_happens(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    for arguments in (["event", "tail", "notes"], ["listen", "notes", "--forward", "http://localhost:9/"]):
        assert admit.refused(*arguments).startswith("No server is running here")


# Tailing


async def test_tail_tells_events_as_they_happen(served: Served) -> None:
    await served.app()
    await signed_in(served, "before@example.com")
    token = await operator_token(served, "events:read")
    async with command("event", "tail", "notes", "--type=user.enrolled", url=served.url, token=token) as tail:
        while not served.gateway.news.waiting:
            await asyncio.sleep(0.01)
        await signed_in(served, "ada@example.com")
        line = (await tail.line()).split("\t")

    (_, event) = (await api(served, "GET", "apps/notes/events?types=user.enrolled")).json["events"]
    assert line == [event["timestamp"], "user.enrolled", "ada@example.com", event["id"]]


async def test_tail_outlives_a_restart_and_misses_nothing(served_sqlite_url: str) -> None:
    port = 0
    forwarder = await asyncio.start_server(_forwarder_to(lambda: port), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{forwarder.sockets[0].getsockname()[1]}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(forwarder)
        async with serving(served_sqlite_url) as served:
            await served.app()
            port, token = served.gateway.settings.port, await operator_token(served, "events:read")
            arguments = ("event", "tail", "notes", "--type=user.enrolled", "--json")
            tail = await stack.enter_async_context(command(*arguments, url=url, token=token))
            while not served.gateway.news.waiting:
                await asyncio.sleep(0.01)
        assert "Trying again until it answers." in await tail.said()
        async with serving(served_sqlite_url) as served:
            await signed_in(served, "ada@example.com")  # nobody can tail the server yet
            port = served.gateway.settings.port
            assert (await tail.json())["data"]["user"]["user_id"] == "ada@example.com"
            assert (await tail.said()).startswith("It answers again")
            await signed_in(served, "bob@example.com")
            assert (await tail.json())["data"]["user"]["user_id"] == "bob@example.com"
            tail.process.send_signal(signal.SIGINT)
            assert await tail.process.wait() == 130


def _forwarder_to(port: Any) -> Any:
    """Answers connections with those of a server that may have another port every time it starts."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", port())
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, ours), pipe(theirs, writer), return_exceptions=True)

    return handle


async def test_tail_hears_of_servers_through_postgresql_itself(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as served:
        await served.app()
        reach = {"database_url": served_postgres_url, "secret_key": SECRET_KEY}
        async with command("event", "tail", "notes", "--after=beginning", "--json", **reach) as tail:
            await signed_in(served, "ada@example.com")
            assert (await tail.json())["type"] == "user.enrolled"
            assert [(await tail.json())["type"] for _ in range(2)] == ["device.enrolled", "session.started"]
            await signed_in(served, "bob@example.com")
            assert (await tail.json())["data"]["user"]["user_id"] == "bob@example.com"


async def test_tail_tells_people_at_a_terminal_what_it_waits_for(door: Served) -> None:
    await door.app()
    token = await operator_token(door, "events:read")
    ours, theirs = pty.openpty()
    tail = await asyncio.create_subprocess_exec(
        *(*ADMIT, "event", "tail", "notes", "--type", "user.enrolled", "--user", "usr_1"),
        stdout=PIPE,
        stderr=theirs,
        env=CLEAN | {"ADMIT_URL": door.url, "ADMIT_TOKEN": token},
    )
    os.close(theirs)
    said = await asyncio.wait_for(asyncio.to_thread(os.read, ours, 10_000), WAIT_SECONDS)
    tail.send_signal(signal.SIGINT)
    out, _ = await tail.communicate()
    os.close(ours)
    assert said.decode().splitlines() == ["Waiting for user.enrolled of notes about usr_1. Ctrl-C ends this."]
    assert (tail.returncode, out) == (130, b"")


async def test_tail_of_an_app_that_is_not_there_ends_at_once(door: Served) -> None:
    token = await operator_token(door, "events:read")
    async with command("event", "tail", "notes", url=door.url, token=token) as tail:
        assert await tail.process.wait() == 3
        assert "There is no app 'notes'" in await tail.said()


# What commands on one machine do


def test_events_are_listed_and_logs_restored_by_command(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    admit.done("app", "create", "plans", "--owner", "ada@example.com")
    admit.post("apps/notes/users", [{"userId": f"u{n}@example.com", "type": "prod"} for n in range(600)])

    listed = admit.json("event", "list", "notes")
    assert [each["data"]["sequence"] for each in listed] == [str(number) for number in range(1, 601)]
    some = admit("event", "list", "notes", "--limit", "2", "--type", "user.enrolled")
    lines = some.out.splitlines()
    assert lines[0].split("\t") == ["TIME", "TYPE", "ABOUT", "EVENT ID"]
    assert [line.split("\t")[2] for line in lines[1:]] == ["u0@example.com", "u1@example.com"]
    cursor = some.err.split()[-1]
    assert some.err == f"Go on with: --after {cursor}\n"
    third = admit.json("event", "list", "notes", "--after", cursor, "--limit=1")[0]
    assert third["data"]["user"]["user_id"] == "u2@example.com"
    unknown = "'user.enroled' is not a type of event. Is 'user.enrolled' meant?"
    assert admit.refused("event", "list", "notes", "--type", "user.enroled").startswith(unknown)
    assert admit.refused("event", "trigger", "notes", "user.enroled").startswith(unknown)
    assert admit.json("event", "list", "notes", "--user", "u7@example.com")[0]["data"]["sequence"] == "8"

    assert "Name an app, or say --all" in admit.refused("event", "restored", code=2)
    assert admit.json("event", "restored", "--all", "--yes") == {"logs": 2}
    assert (
        "read again from the beginning" in admit.refused("event", "list", "notes", "--after", cursor).lower()
    )
    assert "1 log begins" in admit.done("event", "restored", "notes", "--yes")


def test_example_is_triggered_by_command(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    assert "No endpoint of notes is told of user.enrolled" in admit.done(
        "event", "trigger", "notes", "user.enrolled"
    )
    assert admit("event", "trigger", "notes", "user.enrolled", "--endpoint", "ep_1").code == 3
