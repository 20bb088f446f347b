"""Schedules of attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.clock import HOUR_MS, MINUTE_MS
from admit.jobs.retry import MAIL, STANDARD, Schedule, delay_ms


@pytest.mark.parametrize("schedule", [MAIL, STANDARD])
def test_schedule_ends_after_its_last_attempt(schedule: Schedule) -> None:
    pauses = [delay_ms(schedule, attempt, 0.5) for attempt in range(1, schedule.attempts_max + 3)]

    assert pauses[:-3] == list(schedule.delays_ms)
    assert pauses[-3:] == [None, None, None]


@given(st.integers(1, len(STANDARD.delays_ms)), st.floats(0, 1))
def test_pause_is_spread_by_a_fifth_to_both_sides(attempt: int, dice: float) -> None:
    base = STANDARD.delays_ms[attempt - 1]
    pause = delay_ms(STANDARD, attempt, dice)

    assert pause is not None
    assert 0.8 * base - 1 <= pause <= 1.2 * base + 1


def test_mail_is_tried_while_its_code_lives_and_past_greylisting() -> None:
    slowest = [delay_ms(MAIL, attempt, 1.0) or 0 for attempt in range(1, MAIL.attempts_max)]
    fastest = [delay_ms(MAIL, attempt, 0.0) or 0 for attempt in range(1, MAIL.attempts_max)]

    assert sum(slowest) < 16 * MINUTE_MS
    assert sum(fastest) > 10 * MINUTE_MS


def test_standard_schedule_outlasts_a_night() -> None:
    assert sum(STANDARD.delays_ms) > 24 * HOUR_MS
