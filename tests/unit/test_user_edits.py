"""What an entry of POST /users may say, and what it does."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from admit.accounts.user_edits import Fault, UserChange, changed_properties, edit
from admit.accounts.users import NEVER, NEVER_ACTIVE, User
from tests.residents import APP, NOW, person


def change(text: str) -> UserChange:
    """An entry as it arrives."""
    return msgspec.json.decode(text, type=UserChange)


def edited(user: User | None, text: str) -> User:
    outcome = edit(user, change(text), app_id=APP, eval_days=30, way_in="api", now=NOW)
    assert isinstance(outcome, User), outcome
    return outcome


def fault(user: User | None, text: str) -> str:
    outcome = edit(user, change(text), app_id=APP, eval_days=30, way_in="api", now=NOW)
    assert isinstance(outcome, Fault), outcome
    return outcome.sentence


def test_user_who_is_created_has_never_been_here() -> None:
    user = edited(None, '{"userId":"ada@example.com","type":"eval"}')

    assert (user.last_login_at, user.active_day, user.valid_until) == (0, NEVER_ACTIVE, NEVER)
    assert (user.eval_days_left, user.eval_days_max) == (30, 30)
    assert (user.email, user.email_verified, user.data) == ("ada@example.com", False, None)


def test_creation_without_a_type_is_refused() -> None:
    assert "type" in fault(None, '{"userId":"ada"}')


@pytest.mark.parametrize(
    "entry",
    [
        "{}",
        '{"type":"eval"}',
        '{"userId":"a","created":"2020-01-01"}',
        '{"userId":"a","uid":"usr_x"}',
        '{"userId":"a","email":"a@b.c"}',
        '{"userId":"a","name":"x"}',
        '{"userId":"a","__proto__":{}}',
        '{"userId":7}',
        '{"userId":"a","evalDaysLeft":"30"}',
        '{"userId":"a","evalDaysLeft":1.5}',
        '{"userId":"a","deactivated":1}',
        '{"userId":"a","validUntil":1700000000000}',
        '{"userId":"a","type":null}',
    ],
)
def test_entry_with_anything_else_in_it_is_not_an_entry(entry: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        change(entry)


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ('"type":"admin"', "type"),
        ('"type":"EVAL"', "type"),
        ('"type":"client"', "type"),
        ('"type":"demo"', "demo.local"),
        ('"evalDaysLeft":-1', "evalDaysLeft"),
        ('"evalDaysLeft":99999999999', "evalDaysLeft"),
        ('"validUntil":"soon"', "validUntil"),
        ('"validUntil":""', "validUntil"),
        ('"validUntil":"2030-01-01T00:00:00"', "validUntil"),
        ('"validUntil":"1969-12-31T23:59:59Z"', "validUntil"),
        ('"validUntil":"9999-12-31T23:59:59-23:59"', "validUntil"),
        ('"deactivated":"yes"', "deactivated"),
        ('"data":[]', "data"),
        ('"data":"x"', "data"),
        ('"data":7', "data"),
        ('"data":{"x":1e999}', "data"),
        ('"data":{"x":"' + "x" * 16_384 + '"}', "data"),
    ],
)
def test_value_that_makes_no_sense_is_named(wish: str, named: str) -> None:
    sentence = fault(person(), '{"userId":"ada@example.com",' + wish + "}")

    assert named in sentence


def test_data_nested_without_end_is_refused() -> None:
    nested = msgspec.Raw(b'{"a":' * 2_500 + b"1" + b"}" * 2_500)
    entry = replace(change('{"userId":"ada@example.com"}'), data=nested)

    assert isinstance(edit(person(), entry, app_id=APP, eval_days=30, way_in="api", now=NOW), Fault)


@pytest.mark.parametrize("user_id", [" ada", "ada\\n", "", "x" * 256, "\\u0000"])
def test_user_id_that_nobody_may_have_is_not_created(user_id: str) -> None:
    assert "userId" in fault(None, f'{{"userId":"{user_id}","type":"eval"}}')


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2030-12-31T23:59:59Z", 1_924_991_999_000),
        ("2030-12-31T23:59:59.123Z", 1_924_991_999_123),
        ("2031-01-01T00:59:59+01:00", 1_924_991_999_000),
        ("2031-01-01", 1_924_992_000_000),
    ],
)
def test_date_is_read_to_the_millisecond(text: str, at_ms: int) -> None:
    assert edited(person(), f'{{"userId":"ada@example.com","validUntil":"{text}"}}').valid_until == at_ms


def test_null_is_no_end() -> None:
    assert edited(person(valid_until=NOW + 1), '{"userId":"a","validUntil":null}').valid_until == NEVER


def test_end_in_the_past_expires_at_once_and_a_later_one_revives() -> None:
    expired = edited(person(type="prod"), '{"userId":"a","validUntil":"2001-01-01"}')
    assert expired.expired_at == NOW

    assert edited(expired, '{"userId":"a","validUntil":"2099-01-01"}').expired_at is None


def test_more_days_than_there_were_become_the_new_maximum() -> None:
    user = edited(person(eval_days_left=0, expired_at=NOW - 5), '{"userId":"a","evalDaysLeft":45}')

    assert (user.eval_days_left, user.eval_days_max, user.expired_at) == (45, 45, None)


def test_deactivation_keeps_its_first_date_and_is_never_ahead() -> None:
    user = edited(person(deactivated_at=NOW - 9), '{"userId":"a","deactivated":true}')
    assert user.deactivated_at == NOW - 9

    assert edited(person(), '{"userId":"a","deactivated":"2099-01-01"}').deactivated_at == NOW
    assert edited(person(), '{"userId":"a","deactivated":"2001-01-01"}').deactivated_at == 978_307_200_000
    assert edited(user, '{"userId":"a","deactivated":null}').deactivated_at is None
    assert edited(user, '{"userId":"a","deactivated":false}').deactivated_at is None


def test_data_is_kept_as_it_came_and_its_display_name_is_the_name() -> None:
    text = '{"displayName": "  Ada\\u0000\\nLovelace ", "__proto__": {"admin": true}, "n": 1.0}'

    user = edited(person(), '{"userId":"ada@example.com","data":' + text + "}")

    assert user.data is not None
    assert bytes(user.data).decode() == text
    assert user.name == "Ada Lovelace"
    assert changed_properties(person(), user) == ("name", "data")


def test_email_in_data_fills_an_unknown_one_and_replaces_none() -> None:
    entry = '{"userId":"a","data":{"email":"eve@example.com"}}'

    assert edited(person("a"), entry).email == "eve@example.com"
    assert not edited(person("a", email_verified=False), entry).email_verified
    assert edited(person("a", email="ada@example.com"), entry).email == "ada@example.com"


@pytest.mark.parametrize(
    "email", ['"a@b@c"', '"@"', '"a b@c.de"', "7", '"a@b\\u0000"', f'"{"x" * 300}@c.de"']
)
def test_email_in_data_that_is_none_is_just_data(email: str) -> None:
    assert edited(person("a"), '{"userId":"a","data":{"email":' + email + "}}").email == ""


def test_null_clears_data_and_leaves_the_name() -> None:
    user = edited(person(name="Ada", data=msgspec.Raw("{}")), '{"userId":"a","data":null}')

    assert (user.data, user.name) == (None, "Ada")


def test_entry_that_changes_nothing_leaves_the_user_untouched() -> None:
    ada = person(data=msgspec.Raw('{"a":1}'))

    same = edited(
        ada, '{"userId":"ada@example.com","type":"eval","evalDaysLeft":30,"data":{"a":1},"deactivated":null}'
    )

    assert same == ada


def test_demo_users_are_those_of_demo_local() -> None:
    assert edited(None, '{"userId":"alice@demo.local","type":"demo"}').type == "demo"
    assert "demo.local" in fault(None, '{"userId":"alice@demo.local","type":"prod"}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["userId", "type", "validUntil", "evalDaysLeft", "deactivated", "data", "x"]),
        json_values | st.sampled_from(["eval", "prod", "2030-01-01", True, "ada@example.com"]),
    )
)
def test_any_entry_is_carried_out_or_refused_with_a_sentence(entry: dict[str, object]) -> None:
    try:
        wish = msgspec.json.decode(msgspec.json.encode(entry), type=UserChange)
    except msgspec.MsgspecError:
        return
    for user in (None, person()):
        outcome = edit(user, wish, app_id=APP, eval_days=30, way_in="api", now=NOW)
        if isinstance(outcome, Fault):
            assert outcome.sentence.endswith(".")
