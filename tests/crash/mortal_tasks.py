"""`mortal_server` whose claims lapse after seconds, so that nobody waits for what a dead one had claimed.

python -m tests.crash.mortal_tasks MOMENT MARK
"""

from admit.jobs import handling, lanes, leases
from tests.crash import mortal_server

LEASE_MS = 2_000

if __name__ == "__main__":
    handling.LEASE_MS_MAX = LEASE_MS
    lanes.HELD_MS = LEASE_MS
    leases.RENEW_SECONDS = 0.5
    mortal_server.main()
