"""A workshop that waits to be killed: `python -m tests.contract.mortal_workshop FOLDER`.

It prints the ids of all processes below it: the parent of all, one that loops in C, one that is idle, and
what they have started.
"""

import asyncio
import json
import sys
from pathlib import Path

from admit.task import wire
from tests.contract.workbench import Desk, code_of, opened, order

CODE = """
import os, subprocess, sys
from admit import task

SLEEP = "import os, time; os.write(1, str(os.getpid()).encode()); time.sleep(600)"

@task.called
def work(ctx):
    reads, writes = os.pipe()
    subprocess.Popen([sys.executable, "-c", SLEEP], stdout=writes, start_new_session=True)
    ctx.log.info(f"pid {os.getppid()} {os.getpid()} {os.read(reads, 64).decode()}")
    sum(range(10**12))

@task.called
def other(ctx):
    return os.getpid()
"""


async def main(folder: Path) -> None:
    code, desk = code_of(folder, CODE), Desk()
    async with opened() as workshop:
        idle = await workshop.run(code, order("other"), Desk())
        assert isinstance(idle, wire.Ended)
        loops = asyncio.create_task(workshop.run(code, order(timeout_seconds=300), desk))
        print(await desk.hear("pid"), json.loads(idle.result), flush=True)
        await loops


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
