"""What hooks add to a push: how much is told of each object that is written, so that units are cut to it."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET

from admit.data import models, writing
from admit.data.model import Hook
from admit.events import subscriptions
from admit.events.object_facts import ObjectReady, ObjectUpdated
from admit.events.subscriptions import Audience
from admit.storage.transaction import Transaction

TOLD_PER_KEY = 10
"""Events and jobs of one object for which a unit has room, when it is full of keys."""


class Load(msgspec.Struct, frozen=True):
    """`listens`: somebody wants to hear of changes, for which objects are read before they are replaced.
    `by_table`: of tables with hooks, as how many keys one object of it counts.
    """

    listens: bool = False
    by_table: Mapping[str, int] = {}

    def keys(self, table: str, count: int) -> int:
        """As how many keys so many objects of a table count."""
        return count * self.by_table.get(table, 1)


def load_of(tx: Transaction, app_id: str) -> Load:
    """What hooks add to what is written to an app."""
    found = writing.circumstances(tx, {app_id}).get(app_id)
    if found is None or not writing.listens(found):
        return Load()
    if not found.model_version:
        return Load(listens=True)
    hooks = models.hooks(tx, app_id, found.model_version)
    audience = Audience([each for each in subscriptions.of_app(tx, app_id).values() if each.live])
    return Load(
        listens=True,
        by_table={table: _keys(of_table, audience) for table, (_, of_table) in hooks.by_table.items()},
    )


def _keys(hooks: Sequence[Hook], audience: Audience) -> int:
    told = sum(1 + _listeners(hook, audience) for hook in hooks)
    return max(1, -(-told // TOLD_PER_KEY))


def _listeners(hook: Hook, audience: Audience) -> int:
    kind = ObjectReady if hook.type == "ready" else ObjectUpdated
    filters = [each.filter.hook for each in audience.of(kind.event_type)]
    return sum(each is UNSET or each.name == hook.name for each in filters)
