"""What a license is worth on which day."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from admit.accounts.licenses import after_activity, end_of, license_of, with_expiry
from admit.accounts.users import NEVER, NEVER_ACTIVE
from admit.clock import DAY_MS
from tests.residents import NOW, day, person


def test_deactivated_outranks_expired() -> None:
    user = person(valid_until=NOW - 1, deactivated_at=NOW)

    assert license_of(user, NOW) == "deactivated"


def test_valid_until_ends_at_that_very_millisecond_for_every_type_but_demo() -> None:
    for kind in ("eval", "prod"):
        user = person(type=kind, valid_until=NOW)

        assert license_of(user, NOW - 1) == "ok"
        assert license_of(user, NOW) == "expired"


def test_only_evaluations_end_with_their_days() -> None:
    assert license_of(person(type="eval", eval_days_left=0), NOW) == "expired"
    assert license_of(person(type="prod", eval_days_left=0), NOW) == "ok"
    assert license_of(person(type="demo", eval_days_left=0), NOW) == "ok"


def test_thirty_days_are_thirty_days_with_activity_the_first_included() -> None:
    user = person()

    for number in range(30):
        user = after_activity(user, day(number))
        assert license_of(user, day(number)) == "ok", number
    user = after_activity(user, day(30))

    assert (user.eval_days_left, user.expired_at) == (0, day(30))
    assert end_of(user, day(30)) == "eval_days_left"


def test_second_activity_of_a_day_changes_nothing() -> None:
    once = after_activity(person(), day(1))

    assert after_activity(once, day(1) + 11 * 3_600_000) is once


def test_day_begins_at_midnight_utc() -> None:
    midnight = 20_001 * DAY_MS

    assert after_activity(person(), midnight - 1).eval_days_left == 30
    assert after_activity(person(), midnight).eval_days_left == 29


def test_clock_that_goes_back_a_day_costs_nothing() -> None:
    user = after_activity(person(), day(2))

    assert after_activity(user, day(1)) is user


def test_user_whom_the_api_created_has_the_first_day_included_too() -> None:
    user = after_activity(person(active_day=NEVER_ACTIVE), day(100))

    assert (user.eval_days_left, user.active_day) == (30, 20_100)


def test_paying_users_do_not_count_days() -> None:
    user = person(type="prod")

    assert after_activity(user, day(5)) is user


def test_deactivated_user_neither_counts_days_nor_expires() -> None:
    user = person(deactivated_at=NOW, eval_days_left=1)

    assert after_activity(user, day(5)) is user


def test_expired_user_expires_once() -> None:
    user = after_activity(person(valid_until=day(1)), day(2))

    assert user.expired_at == day(2)
    assert after_activity(user, day(3)) is user


def test_end_by_date_does_not_cost_a_day() -> None:
    assert after_activity(person(valid_until=day(1)), day(1)).eval_days_left == 30


def test_extension_makes_a_user_valid_again() -> None:
    expired = with_expiry(person(eval_days_left=0), NOW)
    assert expired.expired_at == NOW

    assert with_expiry(replace(expired, eval_days_left=5), NOW).expired_at is None
    assert with_expiry(replace(expired, type="prod"), NOW).expired_at is None


@given(
    days=st.lists(st.integers(0, 200), min_size=1, max_size=80),
    left=st.integers(0, 40),
    end=st.one_of(st.just(NEVER), st.integers(0, 200).map(day)),
)
def test_days_left_never_fall_below_zero_nor_faster_than_the_days_pass(
    days: list[int], left: int, end: int
) -> None:
    user = person(eval_days_left=left, valid_until=end)

    for number in sorted(days):
        before = user
        user = after_activity(user, day(number))
        assert before.eval_days_left - user.eval_days_left in (0, 1)
        assert user.eval_days_left >= 0
        assert (user.expired_at is not None) == (license_of(user, day(number)) == "expired")

    assert left - user.eval_days_left <= len(set(days) - {0})
