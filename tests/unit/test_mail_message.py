"""Mails as bytes: one recipient, our headers only, whatever the parts contain."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.outbound.message import Mail, MailFailed, compose

NOW = 1_764_000_000_000
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
}


def mail(
    *,
    to: str = "alice@example.com",
    subject: str = "Your code",
    text: str = "123456",
    html: str = "<p>123456</p>",
    sender: str = "Admit <login@example.org>",
    message_id: str = "",
) -> Mail:
    return Mail(to, subject, text, html, sender, "123456", message_id)


def parsed(one: Mail) -> EmailMessage:
    return message_from_bytes(compose(one, NOW).content, policy=SMTP)


def test_mail_carries_text_html_and_the_headers_of_a_machine() -> None:
    message = parsed(mail())

    assert message["To"] == "alice@example.com"
    assert message["From"] == "Admit <login@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] == "Mon, 24 Nov 2025 16:00:00 +0000"
    assert message["Message-ID"].endswith("@example.org>")
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in message.iter_parts()] == ["123456", "<p>123456</p>"]


def test_mail_without_html_is_plain_text() -> None:
    assert parsed(mail(html="")).get_content_type() == "text/plain"


def test_repeated_mail_keeps_its_message_id() -> None:
    assert parsed(mail(message_id="job_1"))["Message-ID"] == "<job_1@example.org>"
    assert parsed(mail())["Message-ID"] != parsed(mail())["Message-ID"]


@pytest.mark.parametrize(
    "to",
    [
        "alice@example.com\r\nBcc: eve@example.com",
        "alice\r\nBcc: eve@example.com",
        "alice@example.com, eve@example.com",
        "alice@example.com,eve@example.com",
        "<eve@example.com>alice@example.com",
        "alice@example.com>\r\nRCPT TO:<eve@example.com",
        "alice @example.com",
        "alice@exa mple.com",
        "alice@example.com\x00",
        '"alice"@example.com',
        "@example.com",
        "alice@",
        "alice",
        "",
        "alice@[127.0.0.1]",
        "alice@-a-.\u200d",
        "a" * 65 + "@example.com",
    ],
)
def test_address_that_is_not_one_mailbox_is_refused_for_good(to: str) -> None:
    with pytest.raises(MailFailed) as caught:
        compose(mail(to=to), NOW)

    assert caught.value.permanent
    with pytest.raises(MailFailed):
        compose(mail(sender=to), NOW)


def test_line_breaks_in_subject_and_sender_name_become_spaces() -> None:
    message = parsed(
        mail(subject="Code\r\nBcc: eve@example.com\u2028x", sender="A\r\nBcc: eve <login@example.org>")
    )

    assert message["Subject"] == "Code Bcc: eve@example.com x"
    assert message["Bcc"] is None


@given(
    subject=st.text(max_size=200),
    text=st.text(min_size=1, max_size=200),
    html=st.text(max_size=200),
    name=st.text(alphabet=st.characters(exclude_characters='<>"'), max_size=40),
)
def test_no_part_adds_a_header_or_a_recipient(subject: str, text: str, html: str, name: str) -> None:
    one = mail(subject=subject, text=text, html=html, sender=f"{name} <login@example.org>")
    try:
        message = compose(one, NOW)
    except MailFailed:
        return

    found = message_from_bytes(message.content)
    assert set(found.keys()) <= HEADERS
    assert message.to == "alice@example.com"
    assert message.sender == "login@example.org"
    assert message.content.isascii()
    assert all(len(line) <= 998 for line in message.content.split(b"\r\n"))
    assert b"\n" not in message.content.replace(b"\r\n", b"")


def test_international_domain_is_sent_in_its_ascii_form() -> None:
    message = compose(mail(to="alice@bücher.example"), NOW)

    assert message.to == "alice@xn--bcher-kva.example"
    assert not message.needs_utf8


def test_international_local_part_needs_a_server_that_knows_it() -> None:
    message = compose(mail(to="jörg@example.com"), NOW)

    assert message.needs_utf8
    assert message.to == "jörg@example.com"
    assert "To: jörg@example.com".encode() in message.content


def test_half_a_character_from_a_template_fails_for_good() -> None:
    with pytest.raises(MailFailed) as caught:
        compose(mail(text="\ud800"), NOW)

    assert caught.value.permanent
