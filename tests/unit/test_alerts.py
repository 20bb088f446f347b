"""Alerts: what a person reads at sign-in, in the shape that the addon shows."""

from msgspec import to_builtins
from msgspec.structs import replace

from admit.accounts.alerts import Alert, alerts_for
from admit.accounts.app_settings import AppSettings, PolicySetting
from admit.accounts.apps import App, Notice
from admit.accounts.users import User
from admit.clock import DAY_MS
from tests.residents import NOW, person


def app(*notices: Notice, warn_days: int = 0) -> App:
    return App(
        app_id="app_notes",
        name="notes",
        user_ids="email",
        policy=PolicySetting(),
        policy_version=1,
        settings=AppSettings(warn_days=warn_days),
        owners=frozenset(),
        origins=frozenset(),
        clients={},
        hook_secret="",
        notices=notices,
        version=1,
    )


def codes(user: User, warn_days: int) -> list[tuple[str, dict[str, str]]]:
    alerts = alerts_for(app(warn_days=warn_days), user, NOW)
    return [(each.message_code, dict(each.message_params)) for each in alerts]


def test_a_notice_is_shown_until_its_end() -> None:
    lasting = Notice("ntc_1", "info", "Read this.", NOW, None)
    ending = Notice("ntc_2", "warning", "Closed on Sunday.", NOW, NOW + 1)
    shown = [each.message for each in alerts_for(app(lasting, ending), person(), NOW)]
    assert shown == ["Read this.", "Closed on Sunday."]
    assert [each.message for each in alerts_for(app(lasting, ending), person(), NOW + 1)] == ["Read this."]


def test_an_alert_has_the_members_that_the_addon_reads() -> None:
    [alert] = alerts_for(app(Notice("ntc_1", "warning", "Read this.", NOW, None)), person(), NOW)
    assert to_builtins(alert) == {
        "type": "warning",
        "messageCode": "NOTICE",
        "message": "Read this.",
        "messageParams": {},
    }


def test_nobody_is_warned_unless_the_app_wants_it() -> None:
    assert codes(replace(person(), eval_days_left=1), 0) == []


def test_a_trial_that_is_about_to_end_tells_the_days() -> None:
    assert codes(replace(person(), eval_days_left=3), 3) == [("LICENSE_ENDS", {"days": "3"})]
    assert codes(replace(person(), eval_days_left=4), 3) == []


def test_a_date_that_is_near_is_told() -> None:
    near = replace(person(), type="prod", valid_until=NOW + 3 * DAY_MS)
    assert codes(near, 3) == [("LICENSE_ENDS", {"date": "2024-10-07"})]
    assert codes(replace(near, valid_until=NOW + 3 * DAY_MS + 1), 3) == []


def test_an_ended_license_says_so_and_a_demo_never_ends() -> None:
    ended = replace(person(), type="prod", valid_until=NOW - 1)
    assert codes(ended, 1) == [("LICENSE_ENDED", {})]
    assert codes(replace(ended, type="demo"), 1) == []


def test_every_parameter_of_a_message_comes_along() -> None:
    for user in (replace(person(), eval_days_left=1), replace(person(), valid_until=NOW + 1)):
        alert: Alert
        for alert in alerts_for(app(warn_days=9), user, NOW):
            assert "{" not in alert.message.format(**alert.message_params)
