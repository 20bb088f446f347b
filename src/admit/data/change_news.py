"""Whoever waits for changes in this process, and the one look on behalf of all of them.

A client says how far it is and then waits. What has come since is told once, as the step from exactly there;
then it is silent until the client says how far it is now. Nothing is told of a client's own changes.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from admit.data import wire
from admit.data.changed import PUBLIC
from admit.data.fresh_rows import Fresh, Start, find_fresh
from admit.data.markers import Marker, sign_of
from admit.data.writing import TOPIC
from admit.errors import AdmitError
from admit.storage.database import Database

LOOK_AT_ONCE = 200
TROUBLE_SECONDS = 1.0
PULL_SECONDS_MIN, PULL_SECONDS_MAX = 1.0, 64.0
"""Between two requests to pull: doubled each time, until the client is where it can be told changes."""

REALMS_CHANGED = '{"type":"realms-changed"}'

log = structlog.get_logger("admit.data")

Client = tuple[str, str]
"""An app_id and the identity of a client's local database."""
Key = TypeVar("Key", str, Client)


class Visitor:
    """A client that waits, once it has said how far it is. `realm`: the uid of its person; None: a stranger.

    `client`: the identity of its local database, whose own changes it is not told; "" hears of all.
    """

    def __init__(
        self, app_id: str, realm: str | None, realm_id: str, client: str, say: Callable[[str], None]
    ) -> None:
        self.app_id = app_id
        self.realm = realm
        self.client = client
        self.realm_set_hash = wire.realm_set_hash([PUBLIC] if realm is None else [PUBLIC, realm_id])
        self.sign = sign_of(realm)
        self.base: Marker | None = None
        """Where the client is; None: it has been told something and has not said how far it is since."""
        self.until: Marker | None = None
        """How far it was told last, by a look that began after so many signals: `heard`."""
        self.heard = 0
        self._seen = (0, 0)
        self._say = say
        self._pause = 0.0
        self._pulled_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def keys(self) -> Sequence[str]:
        """The keys of the signals that concern it."""
        public = f"{self.app_id}/{PUBLIC}"
        return (public,) if self.realm is None else (public, f"{self.app_id}/{self.realm}")

    @property
    def starts(self) -> Sequence[Start]:
        """Where to look for it. Between `base` and there nothing is new for it."""
        private, public = self._seen
        of_all = (self.app_id, PUBLIC, public)
        return (of_all,) if self.realm is None else ((self.app_id, self.realm, private), of_all)

    def waits_at(self, base: Marker) -> None:
        """Notes how far the client is."""
        self.base = base
        self._seen = (base.private, base.public)

    def tell(self, until: Marker, changes: bytes) -> None:
        """Tells the client what is new between `base` and `until`, or nothing where that is nothing."""
        assert self.base is not None
        self._pause = 0.0
        self._seen = (until.private, until.public)
        if changes:
            step = {"baseRev": str(self.base), "newRev": str(until), "realmSetHash": self.realm_set_hash}
            told = msgspec.json.encode(
                {"type": "changes", **step, "changes": msgspec.Raw(b"[" + changes + b"]")}
            )
            self.base, self.until = None, until
            self._say(told.decode())

    def pull(self) -> None:
        """Asks the client to pull, now or as soon as it may be asked again."""
        self.base = None
        if self._timer is None:
            wait = self._pulled_at + max(PULL_SECONDS_MIN, self._pause) - time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(max(0.0, wait), self._pull_now)

    def rest(self) -> None:
        """Forgets that the client was to be asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pull_now(self) -> None:
        self._timer = None
        self._pulled_at = time.monotonic()
        self._pause = min(PULL_SECONDS_MAX, max(PULL_SECONDS_MIN, 2 * self._pause))
        self._say(REALMS_CHANGED)


class ChangeNews:
    """All visitors of this process. Made on the running event loop; close it at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_key: defaultdict[str, set[Visitor]] = defaultdict(set)
        self._by_client: defaultdict[Client, set[Visitor]] = defaultdict(set)
        self._curious: dict[Visitor, None] = {}
        self._signals = 0
        self._missed = 0
        """Which signal was the last that said that others may have been missed."""
        self._heard: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._unsubscribe = db.signals.subscribe(TOPIC, self._hear)

    async def close(self) -> None:
        """Stops listening."""
        self._unsubscribe()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def enter(self, visitor: Visitor) -> None:
        """Lets `visitor` hear of changes from now on, once its client is ready."""
        for key in visitor.keys:
            self._by_key[key].add(visitor)
        self._by_client[_client(visitor)].add(visitor)
        self._look_for([visitor])

    def leave(self, visitor: Visitor) -> None:
        """Lets it hear no more; harmless where it does not."""
        visitor.rest()
        self._curious.pop(visitor, None)
        for key in visitor.keys:
            _drop(self._by_key, key, visitor)
            if key not in self._by_key:
                self._heard.pop(key, None)
        _drop(self._by_client, _client(visitor), visitor)

    def ready(self, visitor: Visitor, revision: object, realm_set_hash: object) -> None:
        """The client of `visitor` says how far it is, by a marker, and of which realms it speaks."""
        visitor.rest()
        base = Marker.parse(revision)
        if base is None or base.sign != visitor.sign or realm_set_hash != visitor.realm_set_hash:
            visitor.pull()
            return
        visitor.waits_at(base)
        if base != visitor.until or self._has_heard(visitor):
            self._look_for([visitor])

    def has_pulled(self, app_id: str, client: str, marker: Marker) -> None:
        """A client was answered how far it is now. Where the answer was lost, it says so when next it is told
        something.
        """
        for visitor in self._by_client.get((app_id, client), ()):
            if visitor.base is not None and visitor.sign == marker.sign:
                visitor.waits_at(marker)

    def _has_heard(self, visitor: Visitor) -> bool:
        """Whether anything may have changed for `visitor` since the look that it was told of."""
        last = max(self._heard.get(key, 0) for key in visitor.keys)
        return max(last, self._missed) > visitor.heard

    def _hear(self, key: str | None) -> None:
        self._signals += 1
        if key is None:
            self._missed = self._signals
        elif key in self._by_key:
            self._heard[key] = self._signals
        if key is None:
            self._look_for([each for some in self._by_client.values() for each in some])
        else:
            self._look_for(self._by_key.get(key, ()))

    def _look_for(self, some: Iterable[Visitor]) -> None:
        self._curious.update((each, None) for each in some if each.base is not None)
        if self._curious and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Looks on behalf of those who are curious until nobody is."""
        try:
            while some := list(islice(self._curious, LOOK_AT_ONCE)):
                for each in some:
                    del self._curious[each]
                starts = frozenset(start for each in some for start in each.starts)
                heard = self._signals
                try:
                    fresh = await self._db.read(partial(find_fresh, starts=starts))
                except AdmitError as error:
                    log.warning("changes.cannot_look", code=error.code)
                    self._curious.update((each, None) for each in some if self._is_here(each))
                    await asyncio.sleep(TROUBLE_SECONDS)
                else:
                    self._tell([each for each in some if self._is_here(each)], starts, fresh, heard)
        finally:
            self._looking = None

    def _tell(self, some: Iterable[Visitor], starts: frozenset[Start], fresh: Fresh, heard: int) -> None:
        """Tells `some` what was found after `heard` signals. Whose place has changed since stays curious."""
        tellings = _Tellings(fresh)
        for each in some:
            if each.base is not None:
                if starts.issuperset(each.starts):
                    each.heard = heard
                    tellings.tell(each, each.base)
                else:
                    self._curious[each] = None

    def _is_here(self, visitor: Visitor) -> bool:
        return visitor in self._by_client.get(_client(visitor), ())


class _Tellings:
    """What one look has found, in the words of clients: the same is put into them once."""

    def __init__(self, fresh: Fresh) -> None:
        self._fresh = fresh
        self._changes: dict[tuple[Start, str], bytes] = {}

    def tell(self, visitor: Visitor, base: Marker) -> None:
        fresh = self._fresh
        starts = visitor.starts
        heads = [fresh.heads[app_id, realm] for app_id, realm, _ in starts]
        found = [fresh.rows.get(start, ()) for start in starts]
        ahead = any(head < start[2] for head, start in zip(heads, starts, strict=True))
        if (
            None in found
            or ahead
            or self._uncovers(visitor)
            or fresh.epochs.get(visitor.app_id, base.epoch) != base.epoch
        ):
            visitor.pull()
            return
        private = 0 if visitor.realm is None else heads[0]
        changes = filter(None, [self._put(start, visitor.client) for start in starts])
        visitor.tell(replace(base, private=private, public=heads[-1]), b",".join(changes))

    def _uncovers(self, visitor: Visitor) -> bool:
        """Whether a public object went that may have stood before one of the visitor's own of its key."""
        rows = self._fresh.rows.get(visitor.starts[-1]) or ()
        return visitor.realm is not None and any(row.value is None for row in rows)

    def _put(self, start: Start, client: str) -> bytes:
        """What is behind `start`, without what `client` has written."""
        rows = self._fresh.rows.get(start) or ()
        but = client if client and any(row.writer == client for row in rows) else ""
        put = self._changes.get((start, but))
        if put is None:
            others = [(row.table, row.key, row.value) for row in rows if not but or row.writer != but]
            put = self._changes[start, but] = wire.changes(others)
        return put


def _client(visitor: Visitor) -> Client:
    return visitor.app_id, visitor.client


def _drop(visitors: defaultdict[Key, set[Visitor]], key: Key, visitor: Visitor) -> None:
    visitors[key].discard(visitor)
    if not visitors[key]:
        del visitors[key]
