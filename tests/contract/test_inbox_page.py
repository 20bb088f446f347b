"""The inbox page: for whoever develops on this machine, and for nobody else."""

import pytest

from admit.outbound.mail import Mail
from tests.contract.served import ORIGIN, Served, serving

EVIL = "<script>alert(1)</script>"


async def mailed(door: Served, **changes: str) -> None:
    fields = {
        "to": "ada@example.com",
        "subject": "Your code",
        "text": "Your code is 402118",
        "html": "",
        "sender": "no-reply@example.com",
        "otp": "402118",
    }
    await door.gateway.mailer.send(Mail(**fields | changes))


async def test_newest_mail_comes_first_with_its_code(door: Served) -> None:
    await mailed(door, otp="111111")
    await mailed(door, otp="222222", to="bob@example.com")
    page = (await door.ask("GET", "/inbox")).body.decode()
    assert page.index("222222") < page.index("111111")
    assert "bob@example.com" in page


async def test_page_knows_when_a_mail_has_come(door: Served) -> None:
    assert (await door.ask("GET", "/inbox/newest")).body == b""
    seen = set()
    for _ in range(3):
        await mailed(door)
        seen.add((await door.ask("GET", "/inbox/newest")).body)
    assert len(seen) == 3
    assert f'data-newest="{max(seen, key=lambda key: key.split(b"-")).decode()}"' in (
        (await door.ask("GET", "/inbox")).body.decode()
    )


async def test_mails_of_strangers_are_text_and_nothing_else(door: Served) -> None:
    await mailed(door, subject=EVIL, text=EVIL, html=f"<b>hello</b>{EVIL}", otp='"><img src=x>')
    page = await door.ask("GET", "/inbox")
    assert EVIL not in page.body.decode()
    assert "<img" not in page.body.decode()
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    key = (await door.ask("GET", "/inbox/newest")).body.decode()
    mail = await door.ask("GET", f"/inbox/mails/{key}")
    assert mail.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert mail.headers["X-Content-Type-Options"] == "nosniff"


async def test_style_and_script_are_files_of_ours(door: Served) -> None:
    page = (await door.ask("GET", "/inbox")).body.decode()
    assert " style=" not in page
    assert "onclick" not in page
    style, script = await door.ask("GET", "/inbox/inbox.css"), await door.ask("GET", "/inbox/inbox.js")
    assert style.headers["Content-Type"].startswith("text/css")
    assert "javascript" in script.headers["Content-Type"]
    assert b"innerHTML" not in script.body


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-Host": "login.example.com"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_strangers_see_nothing(door: Served, headers: dict[str, str]) -> None:
    await mailed(door)
    for path in ("/inbox", "/inbox/newest", "/inbox/inbox.css"):
        answer = await door.ask("GET", path, headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")
        assert b"402118" not in answer.body


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "notes.localhost"]
)
async def test_neighbours_see_it(door: Served, host: str) -> None:
    assert (await door.ask("GET", "/inbox", headers={"Host": host})).status == 200


async def test_pages_of_apps_cannot_read_it(door: Served) -> None:
    await door.app()
    answer = await door.ask("GET", "/inbox/newest", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_only_reading_is_allowed(door: Served) -> None:
    answer = await door.ask("POST", "/inbox")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_mail_that_is_gone_is_not_found(door: Served) -> None:
    await mailed(door)
    for key in ("1-1", "x", "%00"):
        assert (await door.ask("GET", f"/inbox/mails/{key}")).status == 404


async def test_there_is_no_inbox_with_another_mailer(served_sqlite_url: str, tmp_path: object) -> None:
    async with serving(served_sqlite_url, mail_url=f"file://{tmp_path}/mails.jsonl") as door:
        assert (await door.ask("GET", "/inbox")).json["code"] == "not_found"
