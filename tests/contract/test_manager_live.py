"""The live feed of a page: every event once, to who is signed in, for as long as they are, and as we run."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientResponse, ClientSession
from sqlalchemy import select, update
from yarl import URL

from admit.accounts.apps import App
from admit.operators import sessions
from admit.operators.tables import operator_sessions, operators
from admit.web.manager import live
from tests.contract.manager_pages import Operator, signed_in
from tests.contract.served import Served, serving

LIVE = "/manager/apps/notes/live"
SOON = 10.0


@dataclass
class Message:
    """One message of a stream."""

    kind: str
    text: str
    id: str


class Stream:
    """A stream as a browser reads it."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.last_id = ""

    async def next(self) -> Message | None:
        """The next message; None: the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(SOON):
            while line := (await self.answer.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n" and "event" in fields:
                    self.last_id = fields.get("id", self.last_id)
                    return Message(fields["event"], fields.get("data", ""), self.last_id)
                if line != "\n":
                    fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        return None

    async def rows(self) -> Message:
        """The next message with rows."""
        while (message := await self.next()) is not None:
            if message.kind == "rows":
                return message
        raise AssertionError("the stream has ended")

    async def end(self) -> str:
        """The last word of the stream: its kind."""
        last = ""
        async with asyncio.timeout(SOON):
            while (message := await self.next()) is not None:
                last = message.kind
        return last


@asynccontextmanager
async def following(operator: Operator, after: str = "latest", **headers: str) -> AsyncIterator[Stream]:
    url = operator._address(f"{LIVE}?after={after}")
    async with operator.http.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        stream = Stream(answer)
        first = await stream.next()
        assert first is not None
        yield stream


async def create(served: Served, app: App, *names: str) -> None:
    await served.write(app, *({"userId": f"{name}@example.com", "type": "prod"} for name in names))


async def test_what_happens_is_told_as_rows(served: Served) -> None:
    app = await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        await create(served, app, "ada")
        told = await stream.rows()
    assert told.text.count("<tr") == 1
    assert "user.enrolled" in told.text
    assert (
        '<a class="plain" href="/manager/apps/notes/people/ada%40example.com">ada@example.com</a>'
        in told.text
    )


async def test_newest_of_several_comes_first(served: Served) -> None:
    app = await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        await create(served, app, "ada", "bob")
        told = await stream.rows()
    assert told.text.index("bob@example.com") < told.text.index("ada@example.com")


async def test_who_comes_back_is_told_each_event_once(served: Served) -> None:
    app = await served.app()
    seen: list[str] = []
    async with signed_in(served) as operator:
        async with following(operator) as stream:
            await create(served, app, "p0")
            seen.append((await stream.rows()).text)
            last_id = stream.last_id
        await create(served, app, *(f"p{each}" for each in range(1, 120)))
        headers = {"Last-Event-ID": last_id}
        async with operator.http.get(operator._address(f"{LIVE}?after=latest"), headers=headers) as answer:
            stream = Stream(answer)
            while sum(text.count("<tr") for text in seen) < 120:
                seen.append((await stream.rows()).text)
            await create(served, app, "last")
            told = await stream.rows()
    whole = "".join(seen)
    assert all(whole.count(f">p{each}@example.com<") == 1 for each in range(120))
    assert told.text.count("<tr") == 1


async def test_numbers_change_with_what_happens(served: Served) -> None:
    app = await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        await create(served, app, "ada")
        message = await stream.rows()
        while message.kind != "set":
            following_one = await stream.next()
            assert following_one is not None
            message = following_one
    assert '"n-people":"1"' in message.text


async def test_operator_who_is_sent_away_is_told_nothing_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    app = await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        now = served.hands()
        await served.gateway.db.write(
            lambda tx: tx.execute(update(operators).values(deactivated_at=now)).rowcount
        )
        assert await stream.end() == "ended"
        await create(served, app, "ada")


async def test_session_that_is_ended_ends_the_stream(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        [session_id] = await _sessions(served, operator_sessions.c.session_id)
        await served.gateway.db.write(lambda tx: sessions.end_session(tx, session_id))
        assert await stream.end() == "ended"


async def test_role_that_changes_ends_the_stream(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        await served.gateway.db.write(
            lambda tx: tx.execute(update(operators).values(role="read-only")).rowcount
        )
        assert await stream.end() == "ended"


async def test_open_page_keeps_nobody_signed_in(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.1)
    await served.app()
    async with signed_in(served) as operator, following(operator) as stream:
        served.hands.move(seconds=7_200)
        before = await _sessions(served, operator_sessions.c.seen_at)
        for _ in range(3):
            assert await stream.next() is not None
        assert await _sessions(served, operator_sessions.c.seen_at) == before
        served.hands.move(seconds=10 * 3_600)
        assert await stream.end() == "ended"


async def test_server_that_stops_is_not_held_up(served_url: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with ClientSession(cookie_jar=jar) as http:
        async with serving(served_url) as served:
            await served.app()
            async with signed_in(served) as operator:
                jar.update_cookies(operator.http.cookie_jar.filter_cookies(URL(served.url)))
                answer = await http.get(f"{served.url}{LIVE}?after=latest")
                stream = Stream(answer)
                assert await stream.next() is not None
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert await stream.end() in ("", "beat")
        answer.close()


@pytest.mark.parametrize(("after", "status"), [("nonsense", 400), ("MTIuZXBvX290aGVy", 410)])
async def test_cursor_that_cannot_be_followed_is_refused_at_once(
    served: Served, after: str, status: int
) -> None:
    await served.app()
    async with signed_in(served) as operator:
        assert (await operator.get(f"{LIVE}?after={after}")).status == status


async def test_stranger_is_told_nothing(served: Served) -> None:
    await served.app()
    async with served.http.get(f"{served.url}{LIVE}", allow_redirects=False) as answer:
        assert answer.status == 303


async def _sessions(served: Served, column: Any) -> list[Any]:
    return await served.gateway.db.read(lambda tx: list(tx.execute(select(column)).scalars()))
