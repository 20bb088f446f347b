"""Changes and sets of realms as `dexie-cloud-addon` reads them. Pure."""

import base64
from collections.abc import Iterable, Sequence
from hashlib import sha1

import msgspec

State = tuple[str, str, str | None]
"""A table, a key in it, and the object as JSON; None: it was deleted."""

_encode = msgspec.json.Encoder().encode


def changes(states: Iterable[State]) -> bytes:
    """What goes between the brackets of `changes`: by tables, what is to be put and what to be deleted."""
    by_table: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for table, key, value in states:
        put, values, deleted = by_table.setdefault(table, ([], [], []))
        if value is None:
            deleted.append(key)
        else:
            put.append(key)
            values.append(value)
    return b",".join(_table(table, *muts) for table, muts in by_table.items())


def realm_set_hash(realms: Iterable[str]) -> str:
    """What the addon calls the hash of its realms, all of them accepted, by which it knows that we speak of
    the same.
    """
    in_order = sorted(realms, key=lambda realm: realm.encode("utf-16-be"))  # as JavaScript compares texts
    text = _encode([{"realmId": realm, "accepted": True} for realm in in_order])
    return base64.b64encode(sha1(text, usedforsecurity=False).digest()).decode()


def _table(table: str, put: Sequence[str], values: Sequence[str], deleted: Sequence[str]) -> bytes:
    muts = []
    if put:
        joined = ",".join(values).encode()
        muts.append(b'{"type":"upsert","keys":' + _encode(put) + b',"values":[' + joined + b"]}")
    if deleted:
        muts.append(b'{"type":"delete","keys":' + _encode(deleted) + b"}")
    return b'{"table":' + _encode(table) + b',"muts":[' + b",".join(muts) + b"]}"
