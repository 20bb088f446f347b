"""When a task that runs by the clock is next due. Pure: cron expressions as Debian's cron reads them.

A fixed time that the clock leaps over in spring comes right after the leap, and one that it passes twice in
autumn comes once, the first time. `*` in the minutes or hours counts real time: every minute stays one.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS = 5
CRON_CHARACTERS_MAX = 100
EXAMPLE = "0 7 * * MON-FRI"


class CannotTell(ValueError):
    """The expression or the zone cannot be read, or there is no such time. The message is a sentence."""


def next_after(cron: str, timezone: str, after: int) -> int:
    """The first time (UTC ms) behind `after` (UTC ms). Raises CannotTell."""
    zone = zone_of(timezone)
    if len(cron) > CRON_CHARACTERS_MAX or len(cron.split()) != FIELDS:
        raise CannotTell(_problem(cron, f"it does not have {FIELDS} fields"))
    try:
        times = CronSim(cron, datetime.fromtimestamp(after // 1_000, UTC).astimezone(zone))
        # In the hour that comes twice, CronSim looks from the first on.
        return next(at for each in times if (at := round(each.timestamp()) * 1_000) > after)
    except (CronSimError, ValueError) as error:
        raise CannotTell(_problem(cron, str(error)[:1].lower() + str(error)[1:])) from None
    except (StopIteration, OverflowError):
        raise CannotTell(_problem(cron, "there is no such day")) from None


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name. Raises CannotTell."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CannotTell(
            f"{name[:80]!r} is not a time zone that is known here. Write it as in Europe/Berlin."
        ) from None


def _problem(cron: str, reason: str) -> str:
    shown = cron if len(cron) <= CRON_CHARACTERS_MAX else cron[:CRON_CHARACTERS_MAX] + "…"
    return f"{shown!r} is not a cron expression: {reason}. Example: {EXAMPLE!r}."
