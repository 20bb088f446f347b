"""A writing process is killed at any moment: what it has acknowledged is there, and nothing is half done."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from admit.storage.database import Database
from tests.contract.notes import all_notes, make_notes

ROUNDS = 6
SEED = 1
ACKNOWLEDGED_MAX = 400
PARTS = ("deferred", "first", "second")

WRITE = """
import asyncio, itertools, os, sys
from admit.storage.database import Database
from admit.storage.transaction import Finisher
from tests.contract.notes import ADD, adding

def finish(tx, names):
    tx.execute(ADD, [{"id": f"{name} deferred", "n": 0} for name in names])

FINISHER = Finisher(rank=1, run=finish)

def unit(name):
    def write(tx):
        adding(f"{name} first")(tx)
        tx.defer(FINISHER, name)
        adding(f"{name} second")(tx)
        return name
    return write

async def caller(database, round, number):
    for count in itertools.count():
        name = await database.write(unit(f"{round}.{number}.{count}"))
        os.write(int(sys.argv[3]), f"{name}\\n".encode())

async def main(url, round):
    database = Database(url)
    await asyncio.gather(*(caller(database, round, number) for number in range(16)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def _write_until_killed(url: str, number: int, acknowledged_max: int) -> list[str]:
    """Lets a process write until it has acknowledged that many; returns all that it has acknowledged."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, url, str(number), str(writing)],
        pass_fds=[writing],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(writing)
    with os.fdopen(reading) as answers:
        acknowledged = [answers.readline().strip() for _ in range(acknowledged_max)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in answers]
    process.wait()
    return acknowledged


async def test_acknowledged_units_survive_the_kill_and_none_is_half_done(database_url: str) -> None:
    dice = random.Random(SEED)
    database = Database(database_url)
    await make_notes(database)
    database.close()

    acknowledged: list[str] = []
    for number in range(ROUNDS):
        acknowledged += _write_until_killed(database_url, number, dice.randint(1, ACKNOWLEDGED_MAX))

    database = Database(database_url)
    present = set(await database.read(all_notes))
    if database.url.get_backend_name() == "sqlite":
        check = text("PRAGMA integrity_check")
        assert await database.read(lambda tx: tx.execute(check).scalar_one()) == "ok"
    database.close()

    names = {note.split(" ")[0] for note in present}
    assert present == {f"{name} {part}" for name in names for part in PARTS}
    assert set(acknowledged) <= names
    assert {name.split(".")[0] for name in acknowledged} == {str(number) for number in range(ROUNDS)}
