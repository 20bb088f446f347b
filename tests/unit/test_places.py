"""Who may begin a run, and who goes next."""

from hypothesis import given
from hypothesis import strategies as st

from admit.tasks.places import Places, Rank

MANY = 64


def filled(places: Places, task: str, rank: Rank, at_once: int = MANY) -> int:
    """Lets `task` take what it may have, and returns how many that was."""
    taken = 0
    while places.may_begin(task, rank, at_once):
        places.take(task, rank)
        taken += 1
    return taken


def test_one_task_leaves_half_of_the_places_to_others() -> None:
    assert filled(Places(16), "sync", Rank.OTHER) == 6  # of the 12 that are not kept for urgent runs


def test_a_task_that_has_none_finds_a_place_beside_two_greedy_ones() -> None:
    places = Places(16)
    filled(places, "sync", Rank.OTHER)
    filled(places, "mail", Rank.OTHER)
    assert places.may_begin("welcome", Rank.OTHER, MANY)


def test_no_task_has_more_than_its_at_once() -> None:
    assert filled(Places(16), "sync", Rank.OTHER, at_once=2) == 2


def test_slow_tasks_leave_room_for_http_and_decisions() -> None:
    places = Places(4)
    for number in range(MANY):
        filled(places, f"slow {number}", Rank.OTHER)
    assert filled(places, "page", Rank.HTTP) == 1
    assert filled(places, "door", Rank.DECISION) == 1


def test_slow_pages_leave_room_for_decisions() -> None:
    places = Places(4)
    for number in range(MANY):
        filled(places, f"page {number}", Rank.HTTP)
    assert places.may_begin("door", Rank.DECISION, MANY)


def test_decisions_go_before_pages_and_pages_before_the_rest() -> None:
    waiting = [("sync", Rank.OTHER, 4), ("page", Rank.HTTP, 4), ("door", Rank.DECISION, 4)]
    assert Places(16).next_of(waiting) == "door"
    assert Places(16).next_of(waiting[:2]) == "page"


def test_of_those_who_wait_the_one_with_the_fewest_goes_first() -> None:
    places = Places(16)
    places.take("sync", Rank.OTHER)
    assert places.next_of([("sync", Rank.OTHER, 4), ("mail", Rank.OTHER, 4)]) == "mail"
    assert places.next_of([("mail", Rank.OTHER, 4), ("logs", Rank.OTHER, 4)]) == "mail"


def test_nobody_goes_where_nobody_may() -> None:
    places = Places(4)
    places.take("sync", Rank.OTHER)
    assert places.next_of([("sync", Rank.OTHER, 1)]) is None
    places.give_back("sync", Rank.OTHER)
    assert places.next_of([("sync", Rank.OTHER, 1)]) == "sync"


@given(
    st.integers(2, 40),
    st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(list(Rank)), st.booleans()), max_size=200),
)
def test_there_are_never_more_than_there_are_places(count: int, steps: list[tuple[str, Rank, bool]]) -> None:
    places = Places(count)
    taken: list[tuple[tuple[str, Rank], Rank]] = []
    for task, rank, leaves in steps:
        if leaves and taken:
            places.give_back(*taken.pop())
        elif places.may_begin((task, rank), rank, MANY):
            places.take((task, rank), rank)
            taken.append(((task, rank), rank))
        assert len(taken) <= count
        assert sum(rank != Rank.DECISION for _, rank in taken) <= max(1, count - 1)
