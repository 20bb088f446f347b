"""A worker process that says where it is and then waits to be killed there.

    python -m tests.crash.job_worker DATABASE_URL EFFECTS STOP_AT LATER_MS

Its handler of `mail` appends a line to the file EFFECTS. It stops for ever at the step named STOP_AT:
`before-effect`, `before-settle`, or `nowhere`. A job of kind `poison` kills its process. LATER_MS is how far
its clock is ahead, so that nobody has to wait for the end of a lease.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from admit import clock
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.jobs.worker import Done, Line, Outcome, Worker
from admit.storage.database import Database

POISON_SCHEDULE = Schedule((0,))


async def main(database_url: str, effects: Path, stop_at: str, later_ms: int) -> None:
    async def reach(step: str) -> None:
        if step == stop_at:
            print(step, flush=True)
            await asyncio.sleep(600)

    async def handle(job: Job) -> Outcome:
        await reach("before-effect")
        with effects.open("a") as file:
            file.write(f"{job.job_id} {job.attempts} {job.payload}\n")
        await reach("before-settle")
        return Done("Sent.", erase_payload=True)

    async def die(_job: Job) -> Outcome:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    db = Database(database_url)
    db.signals.attach(asyncio.get_running_loop())
    lines = {"mail": Line(handle), "poison": Line(die, schedule=POISON_SCHEDULE)}
    worker = Worker(db, lines, lambda: clock.now() + later_ms, alone=database_url.startswith("sqlite"))
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: stopping.append(asyncio.ensure_future(worker.stop()))
    )
    stopping: list[asyncio.Future[None]] = []
    print("started", flush=True)
    await worker.run()
    db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
