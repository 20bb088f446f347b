"""The pages of the mail server and of the words of mails: saved, tried, shown, and never a password."""

import pytest

from tests.contract.manager_pages import Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_mailers import Handler, mail_server_on_loopback

MAIL = "/apps/notes/sign-in/mail"
TEXTS = "/apps/notes/sign-in/mail-texts"
PASSWORD = "p@ss:w/rd ü"


async def in_force(served: Served, what: str) -> dict[str, object]:
    answer = await served.ask("GET", f"/api/apps/notes/{what}", headers=served.command())
    found: dict[str, object] = answer.json
    return found


async def saved(operator: Operator, **typed: str) -> Shown:
    """The form of the mail server, sent with `typed`."""
    return await operator.post((await operator.get(MAIL)).form("/sign-in/mail"), **typed)


async def test_server_is_saved_and_its_password_never_shown(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        before = await operator.get(MAIL)
        assert "Of this installation" in before.text
        typed = {"host": "mail.example.com", "port": "2525", "encryption": "required", "user": "ada@here"}
        page = await saved(operator, **typed, password=PASSWORD, sender="Notes <login@example.com>")
    assert "The mail server is saved." in page.text
    assert PASSWORD not in page.html
    form = page.form("/sign-in/mail").fields
    assert {name: form[name] for name in typed} == typed
    assert form["password"] == ""
    assert await in_force(served, "mail") == {
        "host": "mail.example.com",
        "port": 2525,
        "encryption": "starttls required",
        "user": "ada@here",
        "sender": "Notes <login@example.com>",
    }


async def test_typed_password_reaches_the_mail_server_as_it_was_typed(served: Served) -> None:
    await served.app()
    handler = Handler()
    async with mail_server_on_loopback(handler, login=True) as port, signed_in(served) as operator:
        from tests.contract.test_mailers import PASSWORD as KNOWN

        typed = {"host": "127.0.0.1", "port": str(port), "encryption": "off", "user": "ada"}
        page = await saved(operator, **typed, password=KNOWN, sender="login@example.com")
        sent = await operator.post(page.form("/mail/test"), to="ada@example.com")
    assert "The mail server has taken it" in sent.text
    assert handler.logins == [(b"ada", KNOWN.encode())]


async def test_other_sender_alone_needs_no_password(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        typed = {"host": "mail.example.com", "user": "ada", "password": PASSWORD, "sender": "a@example.com"}
        await saved(operator, **typed)
        await saved(operator, sender="b@example.com")
        assert (await in_force(served, "mail"))["sender"] == "b@example.com"
        refused = await saved(operator, host="elsewhere.example.com")
    assert refused.status == 400
    assert "Type the password again: it is kept, and shown to nobody." in refused.text
    assert refused.form("/sign-in/mail").fields["host"] == "elsewhere.example.com"
    assert (await in_force(served, "mail"))["host"] == "mail.example.com"


async def test_sender_without_a_server_is_that_of_the_installations_mails(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        await saved(operator, sender="Notes <login@example.com>")
        page = await operator.get(MAIL)
        await operator.post(page.form("/mail/test"), to="ada@example.com")
    assert served.mails[-1].mail.sender == "Notes <login@example.com>"
    assert (await in_force(served, "mail"))["host"] is None


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"host": "mail.example.com/x"}, "The host is the name of a mail server"),
        ({"host": "mail.example.com", "port": "smtp"}, "The port is a number, such as 587."),
        ({"host": "mail.example.com", "encryption": "rot13"}, "Choose how the way"),
        ({"host": "mail.example.com", "password": "x"}, "There is a password and no user."),
        ({"host": "mail.example.com", "sender": "nobody"}, "Write it like login@example.com"),
        ({"host": "10.0.0.7", "sender": "a@example.com"}, "10.0.0.7"),
        ({"sender": "nobody"}, "mail_sender needs an address"),
    ],
)
async def test_server_that_cannot_be_used_is_refused(
    served: Served, typed: dict[str, str], sentence: str
) -> None:
    await served.app()
    before = await in_force(served, "mail")
    async with signed_in(served) as operator:
        refused = await saved(operator, **typed)
    assert refused.status == 400
    assert sentence in refused.text
    assert await in_force(served, "mail") == before


async def test_server_is_given_up(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await saved(operator, host="mail.example.com", sender="a@example.com")
        page = await operator.post(page.form("/mail/back"))
    assert "The mail server of this installation sends again." in page.text
    assert (await in_force(served, "mail"))["host"] is None


async def test_test_mail_that_fails_says_why(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await saved(operator, host="localhost", port="1", encryption="off", sender="a@example.com")
        failed = await operator.post(page.form("/mail/test"), to="ada@example.com")
        wrong = await operator.post(page.form("/mail/test"), to="nobody")
    assert "It was not sent" in failed.text
    assert "It was not sent" in wrong.text
    assert served.mails == []


async def test_words_are_shown_as_they_will_look(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(TEXTS)
        frame = await operator.get(f"{TEXTS}/frame")
    assert "12345678 is your code for notes" in page.text
    assert page.form("/sign-in/mail-texts").fields["subject"] == "{{ otp }} is your code for {{ originName }}"
    assert "frame-src 'self'" in page.headers["Content-Security-Policy"]
    assert "12345678" in frame.text
    policy = frame.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "frame-ancestors 'self'" in policy
    assert "script" not in policy
    assert frame.headers["X-Frame-Options"] == "SAMEORIGIN"


async def test_typed_words_are_previewed_and_not_kept(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(TEXTS)).form("/sign-in/mail-texts")
        form.action = f"/manager{TEXTS}/preview"
        typed = await operator.post(form, subject="{{ otp }} opens", text="Type {{ otp }}")
        wrong = await operator.post(form, text="No code.")
        form.action = f"/manager{TEXTS}/frame"
        frame = await operator.post(form, html="<p>Hello {{ otp }}</p><script>1</script>")
    assert "12345678 opens" in typed.text
    assert "Type 12345678" in typed.text
    assert "Nobody could sign in by this mail" in wrong.text
    assert "does not contain {{ otp }}" in wrong.text
    assert frame.html.startswith("<p>Hello 12345678</p>")
    assert frame.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert (await in_force(served, "templates"))["own"] == []


async def test_words_are_saved_and_reset(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(TEXTS)
        page = await operator.post(
            page.form("/sign-in/mail-texts"), subject="{{ otp }} opens {{ originName }}"
        )
        assert "Your own: subject." in page.text
        assert (await in_force(served, "templates"))["own"] == ["subject"]
        page = await operator.post(page.form("/mail-texts/reset"))
    assert "Mails have the words that Admit comes with." in page.text
    assert (await in_force(served, "templates"))["own"] == []


async def test_words_that_would_lock_people_out_are_refused_in_their_place(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(TEXTS)).form("/sign-in/mail-texts")
        refused = await operator.post(form, text="No code.")
    assert refused.status == 400
    assert refused.html.index('id="text-wrong"') > refused.html.index('id="text"')
    assert refused.form("/sign-in/mail-texts").fields["text"] == "No code."
    assert (await in_force(served, "templates"))["own"] == []


async def test_test_mail_has_the_words_of_the_editor(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get(TEXTS)).form("/sign-in/mail-texts")
        form.action = f"/manager{TEXTS}/test"
        sent = await operator.post(form, subject="Try {{ otp }}", to="ada@example.com")
    assert "The mail server has taken it" in sent.text
    assert sent.form("/sign-in/mail-texts").fields["subject"] == "Try {{ otp }}"
    assert [each.mail.subject for each in served.mails] == ["Try 12345678"]
    assert (await in_force(served, "templates"))["own"] == []


async def test_who_may_only_look_changes_neither_server_nor_words(served: Served) -> None:
    await served.app()
    async with signed_in(served, "support") as operator:
        mail, texts = await operator.get(MAIL), await operator.get(TEXTS)
        assert "Save the mail server" not in mail.text
        assert "Save the words" not in texts.text
        answers = [
            await operator.post(mail.form("/sign-in/mail"), sender="a@example.com"),
            await operator.post(mail.form("/mail/test"), to="ada@example.com"),
            await operator.post(texts.form("/sign-in/mail-texts"), subject="{{ otp }}"),
        ]
    assert [each.status for each in answers] == [403, 403, 403]
    assert served.mails == []
    assert (await in_force(served, "templates"))["own"] == []
