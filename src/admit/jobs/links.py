"""Links: what a job is about, so that it is found by an event, an admission, a session or a device."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Integer, bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit.jobs.tables import jobs, links
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

Key = tuple[int, str]
"""When a job was made (UTC ms), and its id."""

ADD_LINKS = Insertion(insert(links).on_conflict_do_nothing())
FIND = (
    select(links.c.created_at, links.c.job_id)
    .where(
        links.c.app_id == bindparam("app"),
        links.c.about == bindparam("of"),
        tuple_(links.c.created_at, links.c.job_id) < tuple_(bindparam("moment"), bindparam("job")),
    )
    .order_by(links.c.created_at.desc(), links.c.job_id.desc())
    .limit(bindparam("limit"))
)
NEWEST = Lookup(
    select(links.c.about, links.c.job_id).order_by(links.c.created_at.desc(), links.c.job_id.desc()),
    (links.c.app_id, links.c.about),
    each_max=bindparam("most", type_=Integer),
)
OF_JOB = (
    select(links.c.about)
    .where(links.c.app_id == bindparam("app"), links.c.job_id == bindparam("job"))
    .order_by(links.c.about)
)
_OF_PERSON = (
    select(links.c.app_id, links.c.about, links.c.created_at, links.c.job_id)
    .select_from(links.join(jobs, (jobs.c.app_id == links.c.app_id) & (jobs.c.job_id == links.c.job_id)))
    .where(jobs.c.app_id == bindparam("app"), jobs.c.subject == bindparam("of_subject"))
    .limit(bindparam("most", type_=Integer, literal_execute=True))
)
ERASE = delete(links).where(
    tuple_(links.c.app_id, links.c.about, links.c.created_at, links.c.job_id).in_(_OF_PERSON)
)


class Link(msgspec.Struct, frozen=True):
    """A job, made at `created_at` (UTC ms), is about `about`."""

    app_id: str
    about: str
    created_at: int
    job_id: str


def add(tx: Transaction, added: Sequence[Link]) -> None:
    """Writes links. One that is there already changes nothing."""
    tx.write(ADD_LINKS, [(each.app_id, each.about, each.job_id, each.created_at) for each in added])


def find(tx: Transaction, app_id: str, about: str, before: Key, limit: int) -> list[Key]:
    """The jobs about something before a key, the newest first."""
    moment, job = before
    which = {"app": app_id, "of": about, "moment": moment, "job": job, "limit": limit}
    return [(row.created_at, row.job_id) for row in tx.execute(FIND, which)]


def newest(tx: Transaction, app_id: str, abouts: Iterable[str], most: int) -> list[tuple[str, str]]:
    """The newest jobs about each of `abouts`, `most` of each at most: what they are about, and their ids."""
    rows = NEWEST.rows(tx, [(app_id, about) for about in abouts], most=most)
    return [(row.about, row.job_id) for row in rows]


def of_job(tx: Transaction, app_id: str, job_id: str) -> list[str]:
    """What a job is about."""
    return list(tx.execute(OF_JOB, {"app": app_id, "job": job_id}).scalars())


def erase(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """Deletes the links of a subject's jobs, `most` at once; says how many there were."""
    return tx.execute(ERASE, {"app": app_id, "of_subject": subject, "most": most}).rowcount
