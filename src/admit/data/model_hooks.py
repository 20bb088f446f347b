"""The web hooks of data models: which of them fire for what was written, in the unit that writes it.

`ready` fires once per object, when what it requires is there for the first time; `update` at every save while
it is. What fired is an event. An app without a model, and a table without hooks, cost nothing; for all others
there are four lookups at most, for everything that is written together.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Text, bindparam, case, delete, literal, select
from sqlalchemy.dialects.postgresql import insert

from admit.accounts import facts, sessions, users
from admit.accounts.devices import DEVICE_COLUMNS, device_of
from admit.accounts.tables import devices
from admit.clock import iso_date
from admit.data import model_people, models
from admit.data.changed import PUBLIC, Changed
from admit.data.model import PEOPLE, Hook, ModelOf, Relation
from admit.data.model_people import Facts
from admit.data.models import Hooks
from admit.data.tables import objects, readied
from admit.events import log
from admit.events.hook_filters import is_there, member
from admit.events.log import Event
from admit.events.object_facts import ObjectReady, ObjectUpdated
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

OBJECT_BYTES_MAX = 1_000_000
"""Of what is told of an object, with all that is embedded."""
RELATED_BYTES_MAX = 16_384
"""Of a related object: many may have the same."""
UNIT_BYTES_MAX = 16_000_000
"""Of all that is told of what one unit writes, in equal shares of its realms, which are strangers to each
other; a share is OBJECT_BYTES_MAX at least. Behind it objects are told by their ids."""

_readied_key = (
    readied.c.app_id,
    readied.c.realm,
    readied.c.hook,
    readied.c.table_name,
    readied.c.key,
)
READIED = Lookup(select(readied), _readied_key)
NOTE_READY = Insertion(insert(readied).on_conflict_do_nothing())
FORGET_READY = delete(readied).where(*(column == bindparam(f"its_{column.name}") for column in _readied_key))
OBJECTS = Lookup(
    select(
        objects.c.app_id,
        objects.c.table_name,
        objects.c.realm,
        objects.c.key,
        case((objects.c.size <= RELATED_BYTES_MAX, objects.c.value), else_=literal("", Text)).label("value"),
    ).where(objects.c.value.is_not(None)),
    (objects.c.app_id, objects.c.table_name, objects.c.realm, objects.c.key),
)
DEVICES = Lookup(select(*DEVICE_COLUMNS), (devices.c.app_id, devices.c.uid, devices.c.device_id))

Key = tuple[str, ...]
Related = Mapping[Key, dict[str, Any] | None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Candidate(msgspec.Struct, frozen=True):
    """A change of an object, and a hook that may fire for it."""

    change: Changed
    hooks: Hooks
    model: ModelOf
    hook: Hook

    @property
    def deleted(self) -> bool:
        """Whether the object is gone."""
        return self.change.value is None

    @property
    def author(self) -> tuple[str, str]:
        """The session by which it was written; "": by none, or by that of somebody else than whose it is.

        What is about one person goes with them when they are deleted, so nobody else is told of in it.
        """
        change = self.change
        theirs = change.realm in (PUBLIC, change.author.uid)
        return change.app_id, (change.author.session_id or "") if theirs else ""

    @property
    def key(self) -> Key:
        """What is noted once the hook, of the type ready, has fired."""
        change = self.change
        return change.app_id, change.realm, self.hook.name, change.table, change.key


def fire(tx: Transaction, changes: Iterable[Changed], versions: Mapping[str, int]) -> None:
    """Records what hooks have to tell of `changes`, which are written already, in their order.

    `versions`: that of the data model by app, as read in this unit; others have none. The realms are locked,
    so that of two who write at once the second finds what the first has noted.
    """
    found = _candidates(tx, changes, versions)
    if not found:
        return
    saved = [each for each in found if not each.deleted and _own_fields_hold(each)]
    authors = _authors(tx, saved)
    holding = [each for each in saved if _author_holds(each, authors.get(each.author, {}))]
    firing = _firing(tx, found, holding)
    related = _related(tx, firing)
    realms = {(each.change.app_id, each.change.realm) for each in firing}
    room = dict.fromkeys(realms, max(UNIT_BYTES_MAX // max(1, len(realms)), OBJECT_BYTES_MAX))
    for each in firing:
        realm = each.change.app_id, each.change.realm
        told = _object(each, authors.get(each.author, {}), related, min(room[realm], OBJECT_BYTES_MAX))
        room[realm] -= len(told)
        _record(tx, each, msgspec.Raw(told))


def _candidates(tx: Transaction, changes: Iterable[Changed], versions: Mapping[str, int]) -> list[Candidate]:
    found = []
    for change in changes:
        if version := versions.get(change.app_id, 0):
            hooks = models.hooks(tx, change.app_id, version)
            if pair := hooks.by_table.get(change.table):
                found += [Candidate(change, hooks, pair[0], hook) for hook in pair[1]]
    return found


def _own_fields_hold(each: Candidate) -> bool:
    """Whether what the hook requires of the object itself is there."""
    value = each.change.value
    members = {relation.name: relation.member for relation in each.model.belongs_to}
    return all(
        is_there(member(value, (members.get(path[0], path[0]), *path[1:])))
        for path in each.hook.required
        if path[0] not in PEOPLE
    )


def _author_holds(each: Candidate, author: Facts) -> bool:
    """Whether what the hook requires of who has written the object is there."""
    return all(
        is_there(member(_facts_for(path[0], author), model_people.place_of(path[0], path[1:])))
        for path in each.hook.required
        if path[0] in PEOPLE
    )


def _facts_for(name: str, author: Facts) -> Facts:
    """An owner who acts as somebody has a session, but has not enrolled them."""
    return {} if name == "enrollment" and "actor" in author else author


def _authors(tx: Transaction, saved: Iterable[Candidate]) -> dict[tuple[str, str], Facts]:
    """Who has written, where a hook looks at it: user, device and session by (app_id, session_id)."""
    asked = {
        each.author
        for each in saved
        if each.author[1] and any(field.path[0] in PEOPLE for field in each.hook.fields)
    }
    known = [each for each in sessions.find_each(tx, sorted(asked)) if each is not None] if asked else []
    if not known:
        return {}
    people = users.by_uid(tx, {(each.app_id, each.uid) for each in known})
    rows = DEVICES.rows(tx, [(each.app_id, each.uid, each.device_id) for each in known])
    theirs = {(row[0], row[1], row[2]): device_of(row) for row in rows}
    found: dict[tuple[str, str], Facts] = {}
    for session in known:
        user = people.get((session.app_id, session.uid))
        device = theirs.get((session.app_id, session.uid, session.device_id))
        if user is not None and device is not None:
            parts = {
                "user": facts.person_of(user),
                "device": facts.device_of(device),
                "session": facts.session_of(session),
            }
            acting = {} if session.actor is None else {"actor": session.actor}
            found[session.app_id, session.session_id] = _decode(_encode(parts)) | acting
    return found


def _firing(tx: Transaction, found: Iterable[Candidate], holding: Iterable[Candidate]) -> list[Candidate]:
    """Those of `holding` that fire: of the type ready, those that never did, which is noted.

    What is made anew under the key of a deleted object is another object, also where the hook was no part of
    the model when the former one went.
    """
    holds = set(map(id, holding))
    looked_at = [each for each in found if each.deleted or id(each) in holds]
    asked = [each.key for each in looked_at if each.hook.type == "ready"]
    before = {tuple(row) for row in READIED.rows(tx, asked)} if asked else set()
    after, firing = set(before), []
    for each in looked_at:
        if each.deleted:
            after.discard(each.key)
        elif each.hook.type == "update" or each.key not in after or each.change.created:
            firing.append(each)
            if each.hook.type == "ready":
                after.add(each.key)
    tx.write(NOTE_READY, sorted(after - before))
    if gone := sorted(before - after):
        names = [f"its_{column.name}" for column in _readied_key]
        tx.execute(FORGET_READY, [dict(zip(names, key, strict=True)) for key in gone])
    return firing


def _related(tx: Transaction, firing: Iterable[Candidate]) -> Related:
    """The objects that hooks embed, by app, table, realm and key; None: it is too large."""
    keys = [key for each in firing for _, relation in _embedded(each) for key in _keys_of(each, relation)]
    rows = OBJECTS.rows(tx, keys) if keys else []
    return {tuple(row[:4]): _decode(row.value) if row.value else None for row in rows}


def _embedded(each: Candidate) -> Iterable[tuple[str, Relation]]:
    """The names under which a hook embeds other objects, with their relations."""
    wanted = {path[0] for path in each.hook.embedded}
    return [(relation.name, relation) for relation in each.model.belongs_to if relation.name in wanted]


def _keys_of(each: Candidate, relation: Relation) -> list[Key]:
    """Where the object of a relation may be: in the realm of the object, or in the public one."""
    change = each.change
    key = (change.value or {}).get(relation.member)
    table = each.hooks.models[relation.model].table
    if not isinstance(key, str):
        return []
    return [(change.app_id, table, realm, key) for realm in dict.fromkeys((change.realm, PUBLIC))]


def _record(tx: Transaction, each: Candidate, told: msgspec.Raw) -> None:
    change, hook = each.change, each.hook
    kind = ObjectReady if hook.type == "ready" else ObjectUpdated
    data = kind(
        hook=hook.name,
        model=each.model.name,
        realm_id=change.realm_id,
        operation="create" if change.created else "update",
        object=told,
    )
    uid = change.author.uid if change.realm == PUBLIC else change.realm
    log.record(tx, Event(app_id=change.app_id, uid=uid, occurred_at=change.now, data=data))


def _object(each: Candidate, author: Facts, related: Related, bytes_max: int) -> bytes:
    change = each.change
    assert change.value is not None
    told = _members(each.model, change.key, change.value, each.hook.embedded)
    told["updated_at"] = iso_date(change.now)
    for name, relation in _embedded(each):
        found = [key for key in _keys_of(each, relation) if key in related]
        told[name] = _other(each.hooks.models[relation.model], found[0], related) if found else None
    for path in sorted(each.hook.embedded, key=len):
        if path[0] in PEOPLE:
            model_people.embed(told, "", path, _facts_for(path[0], author))
    encoded = _encode(told)
    if len(encoded) <= bytes_max:
        return encoded
    return _encode({name: told[name] for name in ("id", "type", "updated_at")} | {"too_large": True})


def _other(of: ModelOf, key: Key, related: Related) -> dict[str, Any]:
    value = related[key]
    if value is None:
        return {"id": key[3], "type": of.name, "too_large": True}
    return _members(of, key[3], value, ())


def _members(of: ModelOf, key: str, value: Mapping[str, Any], embedded: Iterable[Key]) -> dict[str, Any]:
    """The fields of an object, and the keys of those that it belongs to. Attachments only where they are
    embedded: they are large."""
    named = {path[0] for path in embedded}
    told: dict[str, Any] = {"id": key, "type": of.name}
    for field in of.fields:
        if field.name in value and (field.type != "attachment" or field.name in named):
            told[field.name] = _plain(value[field.name])
    for relation in of.belongs_to:
        if relation.member in value:
            told[relation.member] = value[relation.member]
    return told


def _plain(value: Any) -> Any:
    """Dates as other systems read them; the other special types as the client sent them."""
    if isinstance(value, Mapping) and value.get("$t") == "Date" and isinstance(value.get("v"), str):
        return value["v"]
    return value
