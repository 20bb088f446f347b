"""Spans of time as vercel/ms reads them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.errors import InvalidRequest
from admit.signin.spans import milliseconds

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        # the examples of vercel/ms's README
        ("2 days", 2 * DAY_MS),
        ("1d", DAY_MS),
        ("10h", 36_000_000),
        ("2.5 hrs", 9_000_000),
        ("2h", 7_200_000),
        ("1m", 60_000),
        ("5s", 5_000),
        ("1y", 31_557_600_000),
        ("100", 100),
        ("-3 days", -3 * DAY_MS),
        ("-1h", -3_600_000),
        ("-200", -200),
        (".5ms", 0),
        ("1.5H", 5_400_000),
        (" 53 milliseconds ", 53),
        (3_600, 3_600_000),
        (-5, -5_000),
    ],
)
def test_a_span_is_read_as_the_client_meant_it(span: str | int, expected: int) -> None:
    assert milliseconds(span) == expected


@pytest.mark.parametrize(
    "span", ["", "h", "1 fortnight", "1h 30m", "1e3", "\u0661h", "0x10", "NaN", "1" * 101]
)
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(InvalidRequest):
        milliseconds(span)


@given(st.one_of(st.text(max_size=120), st.integers()))
def test_every_text_is_a_span_or_refused(span: str | int) -> None:
    with suppress(InvalidRequest):
        assert isinstance(milliseconds(span), int)
