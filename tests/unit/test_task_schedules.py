"""When tasks that run by the clock are next due, also where the clock is set forward or back."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from admit.clock import HOUR_MS
from admit.tasks.timetable import next_after

BERLIN = "Europe/Berlin"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next `count` times in UTC, to the minute."""
    at, found = ms(after), []
    for _ in range(count):
        at = next_after(cron, zone, at)
        found.append(datetime.fromtimestamp(at / 1_000, UTC).isoformat()[:16])
    return found


def test_a_fixed_time_is_that_of_the_zone_in_summer_and_winter() -> None:
    assert times("0 7 * * *", BERLIN, "2026-03-27T12:00Z", 3) == [
        "2026-03-28T06:00",
        "2026-03-29T05:00",
        "2026-03-30T05:00",
    ]


def test_a_time_that_the_clock_leaps_over_comes_right_after_the_leap() -> None:
    assert times("30 2 * * *", BERLIN, "2026-03-28T12:00Z", 2) == ["2026-03-29T01:00", "2026-03-30T00:30"]


def test_two_times_in_the_hour_that_is_missing_are_one() -> None:
    assert times("0,30 2 * * *", BERLIN, "2026-03-28T12:00Z", 2) == ["2026-03-29T01:00", "2026-03-30T00:00"]


def test_a_time_that_the_clock_passes_twice_comes_once() -> None:
    assert times("30 2 * * *", BERLIN, "2026-10-24T12:00Z", 2) == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_who_asks_in_the_hour_that_comes_again_is_not_sent_back() -> None:
    """Between the second 2:00 and the second 2:30, when 2:30 has been."""
    assert times("30 2 * * *", BERLIN, "2026-10-25T01:10Z", 1) == ["2026-10-26T01:30"]


def test_every_half_hour_stays_a_half_hour_when_the_clock_is_set() -> None:
    for after in ("2026-03-28T22:00Z", "2026-10-24T22:00Z"):
        at = ms(after)
        for _ in range(12):
            following = next_after("*/30 * * * *", BERLIN, at)
            assert following - at == HOUR_MS // 2
            at = following


def test_a_time_is_never_its_own_next() -> None:
    assert next_after("* * * * *", "UTC", 0) == 60_000
    assert next_after("* * * * *", "UTC", 59_999) == 60_000
    assert next_after("* * * * *", "UTC", 60_000) == 120_000


def test_the_29th_of_february_is_waited_for() -> None:
    assert times("0 0 29 2 *", "UTC", "2026-11-22T00:00Z", 2) == ["2028-02-29T00:00", "2032-02-29T00:00"]


CHANGES = [
    "2026-03-29T01:00Z",
    "2026-10-25T01:00Z",
    "2026-03-08T07:00Z",
    "2026-11-01T06:00Z",
    "2026-04-04T15:00Z",
]
"""Of the clocks of Berlin and New York."""


@given(
    after=st.one_of(
        st.integers(ms("2020-01-01T00:00Z"), ms("2035-01-01T00:00Z")),
        st.builds(
            lambda change, by: ms(change) + by,
            st.sampled_from(CHANGES),
            st.integers(-4 * HOUR_MS, 4 * HOUR_MS),
        ),
    ),
    cron=st.sampled_from(
        ["30 2 * * *", "0,15,45 1,2,3 * * *", "*/7 * * * *", "5 */2 * * SUN", "0 0 1 * *", "* 2 * * *"]
    ),
    zone=st.sampled_from([BERLIN, "UTC", "America/New_York", "Asia/Kathmandu"]),
)
def test_the_next_time_is_always_in_the_future_and_the_same_for_who_asks_later(
    after: int, cron: str, zone: str
) -> None:
    following = next_after(cron, zone, after)
    assert following > after
    assert following % 60_000 == 0
    between = (after + following) // 2
    assert after <= between < following
    assert next_after(cron, zone, between) == following
