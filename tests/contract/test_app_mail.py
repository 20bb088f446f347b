"""An app's own mail server and words, against a real mail server; what is wrong is told in a sentence."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from admit.accounts.tables import mail_servers
from tests.contract.served import Answered, Served, serving
from tests.contract.test_mailers import PASSWORD, Handler, mail_server_on_loopback
from tests.contract.token_desk import asked_for_code

ADA = "ada@example.com"
SENDER = "Notes <login@example.org>"
URL_PASSWORD = "p%40ss%3Aw%2Frd%20%C3%BC"


async def ask(served: Served, method: str, path: str, body: Any = None) -> Answered:
    where = f"/api/apps/notes/{path}".rstrip("/")
    return await served.ask(method, where, headers=served.command(), json=body)


async def use(served: Served, port: int, *, host: str = "127.0.0.1", login: str = "") -> Answered:
    url = f"smtp://{login}{host}:{port}?starttls=off"
    return await ask(served, "PUT", "mail", {"url": url, "sender": SENDER})


async def tried(served: Served, to: str = ADA) -> Any:
    answer = await ask(served, "POST", "mail/test", {"to": to})
    assert answer.status == 200, answer
    return answer.json


async def test_codes_go_by_the_apps_own_server_from_its_own_sender(served: Served) -> None:
    await served.app()
    handler = Handler()
    async with mail_server_on_loopback(handler) as port:
        assert (await use(served, port)).status == 200
        await asked_for_code(served, ADA)
        while not handler.received:
            await served.ask("GET", "/healthz")
    [envelope] = handler.received
    assert (envelope.mail_from, envelope.rcpt_tos) == ("login@example.org", [ADA])
    assert served.mails == []


async def test_other_apps_and_who_goes_back_use_the_installations_server(served: Served) -> None:
    await served.app()
    await served.app("other")
    handler = Handler()
    async with mail_server_on_loopback(handler) as port:
        await use(served, port)
        answer = await served.ask(
            "POST", "/api/apps/other/mail/test", headers=served.command(), json={"to": ADA}
        )
        assert (answer.json["sent"], len(served.mails)) == (True, 1)
        assert (await ask(served, "DELETE", "mail")).json["host"] is None
        assert (await tried(served))["sent"]
    assert (handler.received, len(served.mails)) == ([], 2)
    assert (await ask(served, "DELETE", "mail")).status == 404


async def test_the_password_is_sealed_at_rest_and_never_told(served: Served) -> None:
    await served.app()
    handler = Handler()
    with capture_logs() as lines:
        async with mail_server_on_loopback(handler, login=True) as port:
            shown = await use(served, port, login=f"ada:{URL_PASSWORD}@")
            assert (await tried(served))["sent"]
            told = [shown, await ask(served, "GET", "mail"), await ask(served, "GET", "")]
    assert handler.logins == [(b"ada", PASSWORD.encode())]
    assert (shown.json["host"], shown.json["user"]) == ("127.0.0.1", "ada")
    row = await served.gateway.db.read(lambda tx: tx.execute(select(mail_servers)).one())
    for secret in (URL_PASSWORD, PASSWORD):
        assert secret not in row.sealed
        assert secret not in str(lines)
        assert not any(secret.encode() in answer.body for answer in told)


async def test_a_test_mail_says_what_is_wrong_in_a_sentence(served: Served) -> None:
    await served.app()
    handler = Handler()
    async with mail_server_on_loopback(handler) as port:
        await use(served, port)
        handler.rcpt = lambda _server: "550 No such person"
        refused = await tried(served)
        assert refused == {
            "sent": False,
            "problem": "127.0.0.1 does not take mail for this address: 550 No such person",
        }
    closed = await tried(served)
    assert (closed["sent"], "There is no connection to 127.0.0.1" in closed["problem"]) == (False, True)


async def test_a_wrong_password_is_told_as_such(served: Served) -> None:
    await served.app()
    async with mail_server_on_loopback(Handler(), login=True) as port:
        await use(served, port, login="ada:wrong@")
        outcome = await tried(served)
    assert not outcome["sent"]
    assert "refused the user or the password" in outcome["problem"]
    assert "wrong" not in outcome["problem"]


@pytest.fixture
async def careful(served_url: str) -> AsyncIterator[Served]:
    """A server whose operator has allowed no private address."""
    async with serving(served_url, egress_allow="") as running:
        await running.app()
        yield running


async def test_a_private_address_is_no_mail_server(careful: Served) -> None:
    for host in ("127.0.0.1", "10.0.0.7", "169.254.169.254"):
        refused = await use(careful, 25, host=host)
        assert (refused.status, "EGRESS_ALLOW" in refused.json["message"]) == (400, True)


async def test_a_name_that_leads_to_a_private_address_is_not_dialled(careful: Served) -> None:
    handler = Handler()
    async with mail_server_on_loopback(handler) as port:
        assert (await use(careful, port, host="localhost")).status == 200
        outcome = await tried(careful)
    assert not outcome["sent"]
    assert "loopback" in outcome["problem"]
    assert handler.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "inbox:",
        "https://mail.example.com",
        "smtp://",
        "smtp://mail.example.com/x",
        "smtp://mail.example.com?starttls=maybe",
        "smtp://a:secret-word@mail.example.com:99999",
        "smtp://mail.example.com\r\nQUIT",
        "x" * 1_001,
    ],
)
async def test_nothing_but_a_mail_server_can_be_named(served: Served, url: str) -> None:
    await served.app()
    refused = await ask(served, "PUT", "mail", {"url": url, "sender": SENDER})
    assert (refused.status, "secret-word" in refused.json["message"]) == (400, False)
    assert (await ask(served, "GET", "mail")).json["host"] is None


@pytest.mark.parametrize("sender", ["", "nobody", "a@b@c.com", "Eve\r\nBcc: x@y.com <a@b.com>"])
async def test_a_sender_is_an_address(served: Served, sender: str) -> None:
    await served.app()
    body = {"url": "smtp://mail.example.com", "sender": sender}
    assert (await ask(served, "PUT", "mail", body)).status == 400


async def test_words_are_changed_part_by_part_and_put_back(served: Served) -> None:
    await served.app()
    ours = (await ask(served, "GET", "templates")).json
    assert ours["own"] == []
    changed = (await ask(served, "PUT", "templates", {"subject": "{{ otp }} opens {{ originName }}"})).json
    assert (changed["own"], changed["text"]) == (["subject"], ours["text"])
    changed = (await ask(served, "PUT", "templates", {"text": "Your code: {{ otp }}"})).json
    assert changed["own"] == ["subject", "text"]
    await tried(served)
    mail = served.mails[-1].mail
    assert (mail.subject, mail.text) == ("12345678 opens notes", "Your code: 12345678")
    assert (await ask(served, "DELETE", "templates")).json == ours


async def test_words_keep_the_other_settings(served: Served) -> None:
    await served.app()
    await ask(served, "PUT", "settings", {"eval_days": 7, "warn_days": 3})
    await ask(served, "PUT", "templates", {"subject": "{{ otp }}"})
    settings = (await ask(served, "GET", "")).json["settings"]
    assert (settings["eval_days"], settings["warn_days"]) == (7, 3)
    assert settings["mail_templates"]["subject"] == "{{ otp }}"


async def test_a_preview_shows_the_mail_and_keeps_nothing(served: Served) -> None:
    await served.app()
    shown = (await ask(served, "POST", "templates/preview", {"text": "{{ email }}: {{ otp }}"})).json
    assert shown["text"] == "ada@example.com: 12345678"
    assert (await ask(served, "GET", "templates")).json["own"] == []
    assert served.mails == []


async def test_a_test_mail_tries_words_that_are_not_kept(served: Served) -> None:
    await served.app()
    await ask(served, "PUT", "templates", {"subject": "{{ otp }} is kept"})
    sent = await ask(served, "POST", "mail/test", {"to": ADA, "text": "Try {{ otp }}"})
    assert sent.json == {"sent": True, "problem": ""}
    [received] = served.mails
    assert (received.mail.subject, received.mail.text) == ("12345678 is kept", "Try 12345678")
    assert (await ask(served, "GET", "templates")).json["own"] == ["subject"]
    refused = await ask(served, "POST", "mail/test", {"to": ADA, "text": "No code."})
    assert (refused.status, len(served.mails)) == (400, 1)


@pytest.mark.parametrize("path", ["templates", "templates/preview"])
async def test_words_that_would_lock_people_out_are_refused(served: Served, path: str) -> None:
    await served.app()
    method = "PUT" if path == "templates" else "POST"
    for body in (
        {"text": "No code."},
        {"html": "{{ otp"},
        {"subject": "{{ secret }}"},
        {"body": "{{ otp }}"},
    ):
        assert (await ask(served, method, path, body)).status == 400
    assert (await ask(served, "GET", "templates")).json["own"] == []


async def test_test_mails_count_like_others(served_url: str, tmp_path: Any) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("mails_per_mailbox = {count = 2, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        await served.app()
        statuses = [(await ask(served, "POST", "mail/test", {"to": ADA})).status for _ in range(3)]
    assert statuses == [200, 200, 429]
