"""The rota: whom to claim for next, without asking the database in vain and without leaving anybody out."""

from admit.jobs.claims import Claimed, Wanted
from admit.jobs.pace import FAILURES_TO_REST, REST_MS_MIN, Adaptive, Steady
from admit.jobs.queue import Job
from admit.jobs.rota import CONTENDED_MS, LANES_PER_CLAIM_MAX, Rota, Shift

NOW = 1_764_000_000_000


def rota(at_once: int = 100) -> Rota:
    return Rota(
        {
            "mail": Shift(4, 1_000, lambda _: Steady(4)),
            "delivery": Shift(at_once, 1_000, lambda _: Adaptive()),
        }
    )


def jobs(count: int, lane: str, kind: str = "delivery") -> list[Job]:
    return [
        Job("app_1", f"job_{number}", kind, lane, None, 0, "", 1, 1, False, NOW, NOW)
        for number in range(count)
    ]


def claim_all(of: Rota, *, left: int | None = None, now: int = NOW) -> list[Wanted]:
    """Lets every claim succeed in full; `left`: when the next is due."""
    wanted = of.wanted(now)
    for each in wanted:
        of.claimed(each, Claimed(jobs(each.most, each.lane, each.kind), left), now)
    return wanted


def test_lane_that_is_heard_of_is_claimed_for_and_others_are_not() -> None:
    of = rota()
    assert of.heard("delivery/ep_1", NOW)
    assert not of.heard("run/task", NOW)

    [wanted] = of.wanted(NOW)
    assert (wanted.kind, wanted.lane, wanted.tried, wanted.most) == ("delivery", "ep_1", False, 4)


def test_nothing_is_claimed_before_it_is_due() -> None:
    of = rota()
    of.surveyed("delivery", "ep_1", NOW + 500, None, NOW)

    assert of.wanted(NOW) == []
    assert of.next_look() == NOW + 500
    assert len(of.wanted(NOW + 500)) == 1


def test_lane_without_room_waits_until_half_of_it_is_free() -> None:
    of = rota()
    of.heard("delivery/ep_1", NOW)
    claim_all(of, left=NOW)
    assert of.wanted(NOW) == []
    of.ended("delivery", "ep_1", NOW)
    assert of.wanted(NOW) == []
    of.ended("delivery", "ep_1", NOW)

    [wanted] = of.wanted(NOW)
    assert (wanted.most, wanted.busy) == (2, 2)


def test_hanging_lane_leaves_room_for_every_other() -> None:
    of = rota(at_once=60)
    for number in range(10):
        of.heard(f"delivery/ep_{number}", NOW)
    assert len(claim_all(of, left=NOW)) == 10
    for number in range(1, 10):
        for _ in range(4):
            of.succeeded("delivery", f"ep_{number}", NOW)
            of.ended("delivery", f"ep_{number}", NOW)

    assert {each.lane for each in of.wanted(NOW)} == {f"ep_{number}" for number in range(1, 10)}


def test_lane_that_is_idle_may_begin_one_job_though_others_hang_in_every_place() -> None:
    of = rota(at_once=8)
    for number in range(2):
        of.heard(f"delivery/hanging_{number}", NOW)
    assert sum(each.most for each in claim_all(of, left=NOW)) == 8
    for number in range(30):
        of.heard(f"delivery/well_{number}", NOW)

    begun = claim_all(of, left=NOW)

    assert {each.most for each in begun} == {1}
    assert len({each.lane for each in begun}) == 16
    assert not {each.lane for each in begun} & {"hanging_0", "hanging_1"}
    assert of.wanted(NOW) == []


def test_lane_that_waits_for_a_place_is_no_reason_to_look_again_and_again() -> None:
    of = Rota({"delivery": Shift(4, 1_000, lambda _: Steady(8))})
    of.heard("delivery/ep_1", NOW)
    claim_all(of, left=NOW)

    assert of.wanted(NOW) == []
    assert of.next_look() is None
    assert of.ended("delivery", "ep_1", NOW)
    assert of.wanted(NOW)


def test_times_that_nobody_waits_for_any_more_are_dropped() -> None:
    of = rota()
    of.surveyed("delivery", "ep_1", None, NOW + 10_000_000, NOW)
    for number in range(1_000):
        of.surveyed("delivery", "ep_1", None, NOW + 9_000_000 - number, NOW)

    assert len(of._soon) < 10


def test_kind_that_is_full_does_not_hold_up_another() -> None:
    of = rota(at_once=4)
    of.heard("delivery/ep_1", NOW)
    assert [each.lane for each in claim_all(of, left=NOW)] == ["ep_1"]
    of.heard("mail", NOW)

    assert [each.kind for each in claim_all(of)] == ["mail"]


def test_every_lane_has_its_turn_however_many_there_are() -> None:
    of = rota(at_once=100_000)
    for number in range(3 * LANES_PER_CLAIM_MAX):
        of.heard(f"delivery/ep_{number}", NOW)

    served = [each.lane for _ in range(3) for each in claim_all(of, left=NOW)]

    assert len(set(served)) == len(served) == 3 * LANES_PER_CLAIM_MAX


def test_fresh_jobs_and_those_tried_before_share_the_room() -> None:
    of = rota()
    of.surveyed("delivery", "ep_1", NOW, NOW, NOW)

    assert {each.tried: each.most for each in of.wanted(NOW)} == {True: 2, False: 2}


def test_where_there_is_room_for_one_they_take_turns() -> None:
    of = Rota({"delivery": Shift(10, 1_000, lambda _: Steady(1))})
    kinds = []
    for _ in range(4):
        of.surveyed("delivery", "ep_1", NOW, NOW, NOW)
        [wanted] = claim_all(of, left=NOW)
        kinds.append(wanted.tried)
        of.ended("delivery", "ep_1", NOW)

    assert kinds == [False, True, False, True]


def test_lane_that_rests_is_asked_for_when_its_rest_is_over() -> None:
    of = rota()
    of.surveyed("delivery", "ep_1", NOW, None, NOW)
    for _ in range(FAILURES_TO_REST):
        of.failed("delivery", "ep_1", NOW, again_at=NOW + 5, rest_ms=0)

    assert of.wanted(NOW) == []
    assert of.next_look() == NOW + REST_MS_MIN
    assert sum(each.most for each in of.wanted(NOW + REST_MS_MIN)) == 1


def test_who_comes_back_is_brought_what_waits_without_waiting_for_its_time() -> None:
    of = rota()
    for _ in range(FAILURES_TO_REST):
        of.failed("delivery", "ep_1", NOW, again_at=NOW + 3_600_000, rest_ms=0)
    of.heard("delivery/ep_1", NOW)
    of.claimed(Wanted("delivery", "ep_1", False, 1, 1_000), Claimed(jobs(1, "ep_1"), NOW), NOW)
    of.succeeded("delivery", "ep_1", NOW + 10)
    of.ended("delivery", "ep_1", NOW + 10)

    wanted = {each.tried: each for each in of.wanted(NOW + 10)}
    assert wanted[True].failed_before == NOW + 10
    assert (wanted[True].most, wanted[False].most) == (2, 2)

    of.claimed(wanted[True], Claimed([], NOW + 3_600_000), NOW + 10)
    of.claimed(wanted[False], Claimed([], None), NOW + 10)
    assert of.wanted(NOW + 20) == []


def test_claim_that_another_process_was_faster_with_is_not_repeated_at_once() -> None:
    of = rota()
    of.heard("delivery/ep_1", NOW)
    [wanted] = of.wanted(NOW)
    of.claimed(wanted, Claimed([], NOW), NOW)

    assert of.wanted(NOW) == []
    assert of.next_look() == NOW + CONTENDED_MS


def test_job_that_is_heard_of_while_a_claim_is_under_way_is_claimed_next() -> None:
    of = rota()
    of.heard("delivery/ep_1", NOW)
    [wanted] = of.wanted(NOW)
    of.heard("delivery/ep_1", NOW + 1)
    of.claimed(wanted, Claimed(jobs(1, "ep_1"), None), NOW + 2)
    of.ended("delivery", "ep_1", NOW + 3)

    assert [each.lane for each in of.wanted(NOW + 3)] == ["ep_1"]


def test_claim_that_failed_is_made_again() -> None:
    of = rota()
    of.heard("delivery/ep_1", NOW)
    [wanted] = of.wanted(NOW)
    of.unclaimed(wanted, NOW)

    assert of.wanted(NOW) == [wanted]


def test_closed_lane_is_not_asked_for_until_something_is_heard_of_it() -> None:
    of = rota()
    of.surveyed("delivery", "ep_1", NOW, NOW, NOW)
    for each in of.wanted(NOW):
        of.claimed(each, Claimed([], None, closed=True), NOW)
    assert of.wanted(NOW + 1_000) == []

    of.heard("delivery/ep_1", NOW)
    assert {each.tried for each in of.wanted(NOW)} == {True, False}


def test_limit_of_a_lane_is_remembered_once_a_claim_has_told_it() -> None:
    of = rota()
    of.heard("delivery/ep_1", NOW)
    [wanted] = of.wanted(NOW)
    of.claimed(wanted, Claimed(jobs(2, "ep_1"), NOW, at_once_max=2), NOW)

    assert of.wanted(NOW) == []
    of.ended("delivery", "ep_1", NOW)
    assert [each.most for each in of.wanted(NOW)] == [1]


def test_lane_that_is_not_served_here_is_left_alone_until_it_is_heard_of_again() -> None:
    served: set[str] = set()
    rota = Rota({"run": Shift(4, 1_000, lambda _: Steady(4), served.__contains__)})
    rota.heard("run/tsk_1", 1)
    assert rota.wanted(1) == []
    assert rota.next_look() is None

    served.add("tsk_1")
    rota.heard("run/tsk_1", 2)
    assert [each.lane for each in rota.wanted(2)] == ["tsk_1"]
