"""Erasing a person's private realm: objects, what fired for them, and what was remembered of pushes.

The realm is locked meanwhile, and a realm is made only for people who are there. So a push that was under way
comes before, and is erased, or after, and finds nobody.
"""

from sqlalchemy import bindparam, delete, func, select, tuple_

from admit.data import writing
from admit.data.tables import objects, pushes, readied, realms
from admit.storage.transaction import Transaction

REALM = delete(realms).where(realms.c.app_id == bindparam("app"), realms.c.realm == bindparam("uid"))

_some_objects = (
    select(objects.c.table_name, objects.c.key)
    .where(objects.c.app_id == bindparam("app"), objects.c.history == bindparam("uid"))
    .limit(bindparam("most"))
)
# By the primary key, so that a slice costs as much as it deletes, however much is left.
SOME_OBJECTS = delete(objects).where(
    objects.c.app_id == bindparam("app"),
    objects.c.realm == bindparam("uid"),
    tuple_(objects.c.table_name, objects.c.key).in_(_some_objects),
)
_of_readied = (readied.c.app_id == bindparam("app")) & (readied.c.realm == bindparam("uid"))
_fire = tuple_(readied.c.hook, readied.c.table_name, readied.c.key)
SOME_READIED = delete(readied).where(
    _of_readied,
    _fire.in_(
        select(readied.c.hook, readied.c.table_name, readied.c.key)
        .where(_of_readied)
        .limit(bindparam("most"))
    ),
)
_of_pushes = (pushes.c.app_id == bindparam("app")) & (pushes.c.uid == bindparam("uid"))
_push = tuple_(pushes.c.client, pushes.c.piece)
SOME_PUSHES = delete(pushes).where(
    _of_pushes,
    _push.in_(select(pushes.c.client, pushes.c.piece).where(_of_pushes).limit(bindparam("most"))),
)
COUNT_OBJECTS = select(func.count()).select_from(
    select(objects.c.key)
    .where(
        objects.c.app_id == bindparam("app"),
        objects.c.history == bindparam("uid"),
        objects.c.size > 0,  # 0: deleted
    )
    .limit(bindparam("most"))
    .subquery()
)


def count(tx: Transaction, app_id: str, uid: str, most: int) -> int:
    """How many objects are kept for `uid`; no more than `most` are counted."""
    return int(tx.execute(COUNT_OBJECTS, {"app": app_id, "uid": uid, "most": most}).scalar_one())


def erase(tx: Transaction, app_id: str, uid: str, rows_max: int) -> int:
    """Erases what is kept for `uid`, `rows_max` rows of a kind at most; returns the most of any kind.

    The caller holds the lock of the user. Where it returns `rows_max` there is more.
    """
    writing.lock(tx, [(app_id, uid)])
    whose = {"app": app_id, "uid": uid}
    some = whose | {"most": rows_max}
    erased = max(tx.execute(each, some).rowcount for each in (SOME_OBJECTS, SOME_READIED, SOME_PUSHES))
    if erased < rows_max:
        tx.execute(REALM, whose)
    return erased
