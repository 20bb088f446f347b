"""Tempo: as many runs are claimed as may go on, and more behind them while they are quick."""

from admit.tasks.tempo import CLAIMED_MAX, QUICK_SECONDS, Tempo


def after(tempo: Tempo, *seconds: float) -> int:
    for each in seconds:
        tempo.took(each)
    return tempo.at_once(0)


def test_as_many_are_claimed_as_may_go_on_until_more_is_known() -> None:
    assert Tempo(lambda: 16).at_once(0) == 16


def test_of_a_quick_task_more_and_more_are_claimed_up_to_a_limit() -> None:
    tempo = Tempo(lambda: 1)
    assert after(tempo, *[QUICK_SECONDS] * 9) == 10
    assert after(tempo, *[0.001] * 1_000) == CLAIMED_MAX


def test_of_a_slow_task_no_more_are_claimed_than_go_on() -> None:
    tempo = Tempo(lambda: 4)
    after(tempo, *[0.001] * 1_000)
    assert after(tempo, *[60.0] * 10) == 4
    assert after(Tempo(lambda: 64), 60.0) == 64


def test_what_the_code_says_by_now_holds() -> None:
    said = [8, 2]
    tempo = Tempo(lambda: said.pop(0))
    assert [tempo.at_once(0), tempo.at_once(0)] == [8, 2]
