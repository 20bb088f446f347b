"""What may be chosen for an endpoint; everything else is refused with a code and a sentence."""

from typing import Any

import pytest

from admit.clock import DAY_MS
from admit.errors import InvalidRequest
from admit.events.catalog import TYPES
from admit.events.subscriptions import Equal, Filter
from admit.outbound.addresses import EgressPolicy
from admit.webhooks.endpoint_settings import (
    HEADERS_CHARACTERS_MAX,
    EndpointSettings,
    SettingsChange,
    changed,
    check,
)
from admit.webhooks.secrets import new_secret, parse_secret

EGRESS = EgressPolicy.parse("receiver.internal")
URL = "https://crm.example.com/hooks"
DAY_SECONDS = DAY_MS / 1_000


def settings(**chosen: Any) -> EndpointSettings:
    return changed(EndpointSettings(url=URL), check(SettingsChange(**chosen), EGRESS))


def equal(*path: str, value: Any = "team") -> Filter:
    return Filter(equals=(Equal(path, value),))


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/",
        "ftp://crm.example.com/",
        "crm.example.com",
        "",
        "https://user:secret@crm.example.com/",
        "https://crm.example.com/#part",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://2130706433/",
        "https://crm.example.com/ x",
        "https://" + "a" * 3_000,
    ],
)
def test_url_that_leads_astray_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        settings(url=url)
    assert refused.value.code == "url_refused"
    assert refused.value.message.endswith(".")


def test_host_that_the_operator_has_named_may_be_told_by_plain_http() -> None:
    assert settings(url="http://receiver.internal/").url == "http://receiver.internal/"


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    ({"description": "x" * 201}, "invalid_request", "at most 200"),
    ({"description": "two\nlines"}, "invalid_request", "one line"),
    ({"events": ("user.enroled",)}, "event_type_unknown", "'user.enroled'"),
    ({"events": ("user.*",)}, "event_type_unknown", "/schemas"),
    ({"events": ("x" * 5_000,)}, "event_type_unknown", "is not a type"),
    ({"filter": Filter(user_types=("vip",))}, "filter_refused", "demo, eval, prod"),
    ({"filter": Filter(methods=("password",))}, "filter_refused", "email_code"),
    ({"filter": Filter(email_domains=("acme",))}, "filter_refused", "is not a domain"),
    ({"filter": Filter(email_domains=("ada@acme.org",))}, "filter_refused", "is not a host name"),
    ({"filter": Filter(user_types=("prod",) * 101)}, "filter_refused", "at most 100"),
    ({"filter": Filter(email_domains=("acme.org",) * 101)}, "filter_refused", "at most 100"),
    ({"filter": Filter(equals=(Equal(("a",), 1),) * 21)}, "filter_refused", "at most 20"),
    ({"filter": equal()}, "filter_refused", "1 to 8 names"),
    ({"filter": equal(*["a"] * 9)}, "filter_refused", "1 to 8 names"),
    ({"filter": equal("user", "")}, "filter_refused", "1 to 100 characters"),
    ({"filter": equal("user", "x" * 101)}, "filter_refused", "1 to 100 characters"),
    ({"filter": equal("user", value="x" * 501)}, "filter_refused", "at most 500"),
    ({"headers": {f"x-{number}": "1" for number in range(21)}}, "headers_refused", "at most 20"),
    ({"headers": {"": "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"x key": "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"x:": "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"x\r\ny": "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"schlüssel": "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"x" * 101: "1"}}, "headers_refused", "cannot be the name"),
    ({"headers": {"X-Key": "1", "x-key": "2"}}, "headers_refused", "stands twice"),
    ({"headers": {"x-key": ""}}, "headers_refused", "printable"),
    ({"headers": {"x-key": " 1"}}, "headers_refused", "printable"),
    ({"headers": {"x-key": "1\r\nhost: evil"}}, "headers_refused", "printable"),
    ({"headers": {"x-key": "1\n"}}, "headers_refused", "printable"),
    ({"headers": {"x-key": "\x00"}}, "headers_refused", "printable"),
    ({"headers": {"x-key": "é"}}, "headers_refused", "printable"),
    ({"headers": {"x-key": "x" * 4_001}}, "headers_refused", "printable"),
    ({"headers": {"x-1": "x" * 4_000, "x-2": "x" * 2_000}}, "headers_refused", str(HEADERS_CHARACTERS_MAX)),
    ({"retry_delays": ()}, "retry_delays_refused", "1 to 24"),
    ({"retry_delays": (60.0,) * 25}, "retry_delays_refused", "1 to 24"),
    ({"retry_delays": (0.5,)}, "retry_delays_refused", "from 1 second"),
    ({"retry_delays": (float("nan"),)}, "retry_delays_refused", "from 1 second"),
    ({"retry_delays": (7 * DAY_SECONDS + 1,)}, "retry_delays_refused", "7 days"),
    ({"retry_delays": (7 * DAY_SECONDS, 7 * DAY_SECONDS, 1.0)}, "retry_delays_refused", "14 days"),
    ({"at_once_max": 0}, "invalid_request", "from 1 to 32"),
    ({"at_once_max": 33}, "invalid_request", "from 1 to 32"),
    ({"per_minute": 0}, "invalid_request", "from 1 to 60000"),
    ({"per_minute": 60_001}, "invalid_request", "from 1 to 60000"),
]


@pytest.mark.parametrize(("chosen", "code", "words"), FAULTS)
def test_a_fault_is_told_with_a_code_and_a_sentence(chosen: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        settings(**chosen)
    assert refused.value.code == code
    assert words in refused.value.message
    assert refused.value.message.endswith(".")
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    "name",
    [
        "webhook-id",
        "Webhook-Signature",
        "content-type",
        "Content-Length",
        "content-encoding",
        "host",
        "Transfer-Encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-authorization",
        "accept-encoding",
    ],
)
def test_header_that_would_change_the_request_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        settings(headers={name: "1"})
    assert refused.value.code == "headers_refused"
    assert name.lower() in refused.value.message


def test_a_refused_header_value_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as refused:
        settings(headers={"authorization": "Bearer sesame\n"})
    assert "sesame" not in refused.value.message


def test_choices_get_their_normal_form() -> None:
    change = SettingsChange(
        events=("user.enrolled", "user.deleted", "user.enrolled"),
        filter=Filter(
            user_types=("prod", "prod"), email_domains=("ACME.org.", " bücher.example ", "acme.org")
        ),
        headers={"X-Key": "~ 1"},
    )
    checked = check(change, EGRESS)
    assert checked.events == ("user.enrolled", "user.deleted")
    assert checked.filter == Filter(user_types=("prod",), email_domains=("acme.org", "xn--bcher-kva.example"))
    assert checked.headers == {"x-key": "~ 1"}


def test_a_star_is_every_type() -> None:
    assert settings(events=("user.enrolled", "*")).events == ()
    assert settings(events=tuple(TYPES)).events == tuple(TYPES)


def test_what_is_left_out_stays() -> None:
    before = settings(description="CRM", retry_delays=(5.0,), at_once_max=2, format="full", once="user")
    assert changed(before, check(SettingsChange(), EGRESS)) == before
    after = changed(before, check(SettingsChange(retry_delays=None, at_once_max=None), EGRESS))
    assert (after.retry_delays, after.at_once_max, after.description) == (None, None, "CRM")


def test_limits_themselves_are_allowed() -> None:
    chosen = settings(
        retry_delays=(1.0, 7 * DAY_SECONDS, 7 * DAY_SECONDS - 1),
        at_once_max=32,
        per_minute=60_000,
        description="x" * 200,
        filter=Filter(equals=(Equal(("x" * 100,) * 8, "x" * 500),) * 20),
    )
    assert chosen.schedule is not None
    assert chosen.schedule.attempts_max == 4


def test_an_own_secret_that_can_sign_is_taken() -> None:
    for secret in (new_secret("hmac"), new_secret("ed25519")):
        assert parse_secret(secret) == secret


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_" + "A" * 400,
        "whsec_not base64",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
        "sesame",
    ],
)
def test_an_own_secret_that_cannot_sign_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_secret(text)
    assert refused.value.code == "secret_refused"
    assert not text.removeprefix("whsec_") or text not in refused.value.message
