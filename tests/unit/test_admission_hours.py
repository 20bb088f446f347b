"""Buckets of durations: what is told of many is near to what they were."""

from itertools import pairwise

import pytest

from admit.enrollment.hours import BOUNDS_MS, GROWTH, LATENCY_MS_MAX, quantile


def test_buckets_grow_and_end() -> None:
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
    assert BOUNDS_MS[0] == 1
    assert BOUNDS_MS[-1] == LATENCY_MS_MAX
    assert all(high <= low * GROWTH + 1 for low, high in pairwise(BOUNDS_MS))
    assert len(BOUNDS_MS) < 80


@pytest.mark.parametrize(
    ("buckets", "share", "told"),
    [
        ([], 0.5, None),
        ([(10, 1)], 0.5, 10),
        ([(10, 1)], 0.99, 10),
        ([(10, 99), (500, 1)], 0.99, 10),
        ([(10, 98), (500, 2)], 0.99, 500),
        ([(10, 50), (20, 50)], 0.5, 10),
        ([(10, 49), (20, 51)], 0.5, 20),
    ],
)
def test_share_of_the_answers_came_within(
    buckets: list[tuple[int, int]], share: float, told: int | None
) -> None:
    assert quantile(buckets, share) == told
