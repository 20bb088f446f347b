"""What an operator may set as the policy for unknown people."""

import pytest

from admit.accounts.app_settings import (
    AppSettings,
    MailTemplates,
    PolicySetting,
    check_policy,
    check_settings,
)
from admit.errors import InvalidRequest


def domains(*names: str) -> PolicySetting:
    return PolicySetting(kind="domains", domains=names)


def webhook(url: str = "https://example.com/decide", **more: object) -> PolicySetting:
    return PolicySetting(kind="webhook", url=url, **more)  # type: ignore[arg-type]


def test_domains_are_kept_in_the_one_spelling_by_which_addresses_are_compared() -> None:
    setting = domains(
        "Example.COM", "example.com.", " corp.example ", "BÜCHER.example", "xn--bcher-kva.example"
    )

    assert check_policy(setting).domains == ("example.com", "corp.example", "xn--bcher-kva.example")
    assert check_policy(check_policy(setting)) == check_policy(setting)


@pytest.mark.parametrize(
    "name", ["gmail.com", "GMAIL.com.", "googlemail.com", "outlook.com", "yahoo.co.uk", "vip.qq.com"]
)
def test_public_mail_providers_are_no_rule(name: str) -> None:
    with pytest.raises(InvalidRequest, match="Anybody can get an address"):
        check_policy(domains("example.com", name))


@pytest.mark.parametrize(
    "name",
    ["", "com", ".", "*.example.com", "a@example.com", "example..com", "exa mple.com", "127.0.0.1", "-a.com"],
)
def test_what_is_not_a_domain_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_policy(domains(name))


def test_no_domains_and_too_many_are_refused() -> None:
    for names in ((), tuple(f"d{number}.example" for number in range(501))):
        with pytest.raises(InvalidRequest, match="1 to 500 domains"):
            check_policy(domains(*names))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/decide?app=1&x=%20",
        "http://localhost:3000/hook",
        "http://127.0.0.1:9000/",
        "https://[2001:db8::1]/hook",
        "https://receiver.internal/",
    ],
)
def test_web_hook_urls_are_kept_as_they_are(url: str) -> None:
    assert check_policy(webhook(url)).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///hook",
        "https:example.com",
        "https://user:pass@example.com/",
        "https://example.com/#here",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com/\t",
        "https://bücher.example/",
        "https://2130706433/",
        "https://0x7f.0.0.1.5/",
        "https://127.1/",
        "https://[::1/",
        "https://[v1.a]/",
        "https://example.com\\@internal/",
        "https://example.com/" + "a" * 2_000,
    ],
)
def test_urls_that_mean_different_hosts_to_different_parsers_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="web hook needs a URL"):
        check_policy(webhook(url))


@pytest.mark.parametrize("seconds", [0, 0.99, 15.01, -5, float("nan"), float("inf")])
def test_timeout_stays_between_1_and_15_seconds(seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="1 to 15 seconds"):
        check_policy(webhook(timeout_seconds=seconds))
    with pytest.raises(InvalidRequest, match="1 to 15 seconds"):
        check_policy(PolicySetting(kind="task", task="decide", timeout_seconds=seconds))


def test_a_task_is_kept_with_its_rules() -> None:
    setting = PolicySetting(kind="task", task="decide_enrollment", timeout_seconds=3, on_failure="eval")
    assert check_policy(setting) == setting


@pytest.mark.parametrize(
    "name", ["", "Decide", "1st", "de-cide", "_decide", "d" * 64, "décide", "a b", "a\n"]
)
def test_what_cannot_name_a_task_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="needs the name of a task"):
        check_policy(PolicySetting(kind="task", task=name))


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        (PolicySetting(kind="eval", url="https://example.com/"), "url"),
        (PolicySetting(kind="reject", domains=("example.com",)), "domains"),
        (PolicySetting(kind="prod", on_failure="eval"), "on_failure"),
        (PolicySetting(kind="domains", domains=("example.com",), timeout_seconds=3), "timeout_seconds"),
        (webhook(domains=("example.com",)), "domains"),
        (webhook(task="decide"), "task"),
        (PolicySetting(kind="task", task="decide", url="https://example.com/"), "url"),
        (PolicySetting(kind="task", task="decide", payload="full"), "payload"),
    ],
)
def test_field_of_another_kind_is_refused_not_dropped(setting: PolicySetting, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field} does not belong"):
        check_policy(setting)


@pytest.mark.parametrize(
    "settings",
    [
        AppSettings(eval_days=-1),
        AppSettings(eval_days=10**6),
        AppSettings(mail_sender="nobody"),
        AppSettings(mail_sender="a@example.com\r\nBcc: all@example.com"),
        AppSettings(mail_templates=MailTemplates(subject="a\nb", text="", html="")),
        AppSettings(mail_templates=MailTemplates(subject="a", text="x" * 100_001, html="")),
    ],
)
def test_settings_that_could_break_a_mail_or_a_date_are_refused(settings: AppSettings) -> None:
    with pytest.raises(InvalidRequest):
        check_settings(settings)


def test_company_behind_a_provider_may_be_a_rule() -> None:
    """A domain is compared whole, so that a rule admits nobody from the domains above it."""
    assert check_policy(domains("rci.rogers.com")).domains == ("rci.rogers.com",)
