"""What needs attention follows from the figures alone."""

from typing import Literal

import pytest
from msgspec.structs import replace

from admit.accounts.apps import App, AppSettings, PolicySetting
from admit.clock import DAY_MS, HOUR_MS
from admit.enrollment.hours import Answered
from admit.jobs.failures import Failed
from admit.web import attention
from admit.web.attention import FAILING_MS
from admit.web.overview_types import EndpointFigures, FailedRuns, SeatsFigures

NOW = 1_800_000_000_000
HERE = EndpointFigures(
    id="ep_1",
    url="https://crm.example.com/hook",
    description="",
    state="enabled",
    reason="",
    failing_since=None,
)


def ruled_by(policy: PolicySetting, **ways: PolicySetting) -> App:
    return App(
        app_id="app_1",
        name="notes",
        user_ids="email",
        policy=policy,
        policy_version=2,
        policies=ways,
        settings=AppSettings(),
        owners=frozenset(),
        origins=frozenset(),
        clients={},
        hook_secret="",
        version=1,
    )


def asking(*, timeout_seconds: float = 5.0, on_failure: Literal["refuse", "eval"] = "refuse") -> App:
    return ruled_by(
        PolicySetting(
            kind="webhook", url="https://example.com/", timeout_seconds=timeout_seconds, on_failure=on_failure
        )
    )


def answers(asked: int, failed: int, *, at: int = NOW - HOUR_MS, p99_ms: int | None = 90) -> Answered:
    return Answered(at=at, asked=asked, failed=failed, median_ms=80, p99_ms=p99_ms)


def test_failure_that_the_next_try_may_mend_is_nothing_to_look_at() -> None:
    assert attention.of_endpoint(replace(HERE, failing_since=NOW - FAILING_MS + 1), NOW) is None
    needed = attention.of_endpoint(replace(HERE, failing_since=NOW - FAILING_MS, waiting=1), NOW)
    assert needed is not None
    assert needed.title == "Web hook “crm.example.com” has been failing"
    assert needed.text.startswith("1 delivery waits. Nothing is lost")


def test_endpoint_that_is_paused_was_paused_on_purpose() -> None:
    assert attention.of_endpoint(replace(HERE, state="paused", failing_since=NOW - DAY_MS), NOW) is None


def test_endpoint_that_was_switched_off_says_why() -> None:
    needed = attention.of_endpoint(
        replace(HERE, state="disabled", reason="It answered 410.", description="CRM"), NOW
    )
    assert needed is not None
    assert (needed.code, needed.title) == ("endpoint_disabled", "Web hook “CRM” is switched off")
    assert needed.text.startswith("It answered 410. It is told of nothing meanwhile.")


@pytest.mark.parametrize(
    ("taken", "limit", "code"),
    [
        (5, None, None),
        (0, 0, "seats_full"),
        (50, 50, "seats_full"),
        (60, 50, "seats_full"),
        (49, 50, "seats_few"),
        (48, 50, "seats_few"),
        (47, 50, None),
        (9_025, 9_500, "seats_few"),
        (9_024, 9_500, None),
    ],
)
def test_seats_are_told_before_they_run_out(taken: int, limit: int | None, code: str | None) -> None:
    needed = attention.of_seats(SeatsFigures(taken, limit, "eval"))
    assert (needed and needed.code) == code


def test_hook_that_failed_often_is_urgent_until_it_answers_again() -> None:
    failing = answers(10, 2)
    [needed] = attention.of_asked(asking(), failing, [failing], NOW)
    assert (needed.code, needed.urgent) == ("hook_failing", True)
    assert "refused for now" in needed.text
    mended = [answers(9, 2, at=NOW - 5 * HOUR_MS), answers(1, 0)]
    [needed] = attention.of_asked(asking(on_failure="eval"), failing, mended, NOW)
    assert not needed.urgent
    assert needed.text == "They were admitted as eval, as the policy has it. It answers again."


def test_slow_is_what_comes_near_the_time_there_is() -> None:
    slow = answers(100, 0, p99_ms=2_500)
    [needed] = attention.of_asked(asking(), slow, [slow], NOW)
    assert needed.code == "hook_slow"
    assert list(attention.of_asked(asking(timeout_seconds=10.0), slow, [slow], NOW)) == []
    assert list(attention.of_asked(asking(), answers(9, 0, p99_ms=4_900), [], NOW)) == []


def test_former_hook_is_of_no_interest() -> None:
    failing = answers(10, 10)
    assert list(attention.of_asked(ruled_by(PolicySetting(kind="prod")), failing, [failing], NOW)) == []


def test_task_of_one_way_in_is_looked_after_too() -> None:
    failing = answers(10, 10)
    app = ruled_by(PolicySetting(kind="prod"), google=PolicySetting(kind="task", task="decide"))
    [needed] = attention.of_asked(app, failing, [failing], NOW)
    assert needed.title.startswith("The task decide had no answer for 10 of 10 people")


def test_runs_and_mails_are_counted_as_far_as_they_were() -> None:
    needed = attention.of_runs([FailedRuns("greet", 1), FailedRuns("sync", 100)])
    assert needed is not None
    assert needed.title == "101 or more runs of tasks failed in 24 hours"
    assert needed.about == "sync"
    mail = attention.of_mails(Failed(1, NOW, "No such host."))
    assert mail is not None
    assert mail.title == "1 mail could not be sent in 24 hours"
    assert attention.of_runs([]) is None
    assert attention.of_mails(None) is None
