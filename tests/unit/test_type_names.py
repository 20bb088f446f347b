"""Names of event types that nobody knows, and which ones may have been meant."""

import pytest

from admit.errors import InvalidRequest
from admit.events import type_names


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("user.enroled", "Is 'user.enrolled' meant?"),
        ("User.Enrolled", "Is 'user.enrolled' meant?"),
        ("user_enrolled", "Is 'user.enrolled' meant?"),
        ("enrolled", "Is 'user.enrolled' or 'device.enrolled' meant?"),
        ("sesion.wiped", "Is 'session.wiped' meant?"),
    ],
)
def test_what_is_like_a_type_is_taken_for_it(typed: str, meant: str) -> None:
    error = type_names.unknown(typed)
    assert error.message == f"{typed!r} is not a type of event. {meant} /schemas lists the types."
    assert error.code == "event_type_unknown"


@pytest.mark.parametrize("typed", ["user.created", "user.born", "*", "", "x" * 5_000])
def test_what_is_like_none_is_taken_for_none(typed: str) -> None:
    assert "meant" not in type_names.unknown(typed).message
    assert len(type_names.unknown(typed).message) < 200


def test_types_there_are_pass() -> None:
    assert type_names.check("device.enrolled") == "device.enrolled"
    with pytest.raises(InvalidRequest):
        type_names.check("device.enroled")
