"""Pace: an endpoint that is well is sent more at once; one that is not is left alone, and taken up gently."""

from admit.jobs.pace import (
    ASKED_REST_MS_MAX,
    AT_ONCE_MAX,
    AT_ONCE_START,
    FAILURES_TO_REST,
    REST_MS_MAX,
    REST_MS_MIN,
    Adaptive,
)

NOW = 1_764_000_000_000


def failing(times: int) -> Adaptive:
    """Has failed so often, each time as soon as it might begin."""
    pace = Adaptive()
    for _ in range(times):
        pace.failed(max(NOW, pace.may_begin_at()), 0)
    return pace


def test_healthy_lane_grows_from_4_to_32_at_once() -> None:
    pace = Adaptive()
    assert pace.at_once(NOW) == AT_ONCE_START == 4
    for _ in range(1_000):
        pace.succeeded(NOW)
    assert pace.at_once(NOW) == AT_ONCE_MAX == 32


def test_failures_bring_it_down_to_one_at_once() -> None:
    assert [failing(times).at_once(NOW) for times in range(5)] == [4, 2, 1, 1, 1]


def test_one_failure_among_successes_is_no_reason_to_rest() -> None:
    pace = Adaptive()
    for _ in range(100):
        pace.failed(NOW, 0)
        pace.succeeded(NOW)
    assert pace.may_begin_at() <= NOW
    assert pace.recovering_since() is None


def test_lane_that_only_fails_rests_longer_and_longer_up_to_a_minute() -> None:
    ends = [failing(FAILURES_TO_REST + more).may_begin_at() for more in range(9)]
    rests = [end - begin for begin, end in zip([NOW, *ends], ends, strict=False)]

    assert rests[:4] == [REST_MS_MIN, 2 * REST_MS_MIN, 4 * REST_MS_MIN, 8 * REST_MS_MIN]
    assert rests[-1] == REST_MS_MAX
    assert failing(FAILURES_TO_REST).at_once(NOW) == 0
    assert failing(FAILURES_TO_REST).at_once(NOW + REST_MS_MIN) == 1


def test_what_was_at_work_when_a_rest_began_does_not_make_it_longer() -> None:
    pace = Adaptive()
    for each in range(AT_ONCE_MAX):
        pace.failed(NOW + each, 0)
    began = NOW + FAILURES_TO_REST - 1
    assert pace.may_begin_at() == began + REST_MS_MIN

    pace.failed(began + REST_MS_MIN, 0)
    assert pace.may_begin_at() == began + REST_MS_MIN + 2 * REST_MS_MIN


def test_rest_that_was_asked_for_is_kept_whatever_succeeds_meanwhile_but_not_for_ever() -> None:
    pace = Adaptive()
    pace.failed(NOW, 30_000)
    pace.succeeded(NOW + 1)
    assert pace.may_begin_at() == NOW + 30_000

    pace.failed(NOW, 365 * 86_400_000)
    assert pace.may_begin_at() == NOW + ASKED_REST_MS_MAX


def test_first_success_after_an_outage_begins_a_recovery_from_the_start_value() -> None:
    pace = failing(20)
    pace.succeeded(NOW + 5)

    assert pace.recovering_since() == NOW + 5
    assert pace.may_begin_at() <= NOW + 5
    assert pace.at_once(NOW + 5) == AT_ONCE_START
    pace.caught_up()
    assert pace.recovering_since() is None


def test_relapse_ends_the_recovery() -> None:
    pace = failing(20)
    pace.succeeded(NOW)
    for _ in range(FAILURES_TO_REST):
        pace.failed(NOW, 0)

    assert pace.recovering_since() is None
    assert pace.at_once(NOW) == 0
