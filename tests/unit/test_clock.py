"""Ids: random bytes that are fetched in advance are given out once."""

import os
from concurrent.futures import ThreadPoolExecutor

from admit.clock import STORE_BYTES, new_id

MORE_THAN_A_STORE = STORE_BYTES // 15 * 3


def test_no_id_comes_twice_from_one_thread_or_from_several() -> None:
    with ThreadPoolExecutor(4) as threads:
        many = threads.map(lambda _: [new_id("usr") for _ in range(MORE_THAN_A_STORE)], range(8))
        ids = [each for some in many for each in some]

    assert len({_random_part(each) for each in ids}) == len(ids)


def test_a_forked_process_makes_ids_of_its_own() -> None:
    new_id("usr")  # now there is something in store
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, new_id("usr").encode())
        os._exit(0)

    os.waitpid(child, 0)

    assert _random_part(os.read(reading, 100).decode()) != _random_part(new_id("usr"))
    os.close(reading)
    os.close(writing)


def _random_part(each: str) -> str:
    random_part = each.removeprefix("usr_")[10:]
    assert len(random_part) == 30
    return random_part
