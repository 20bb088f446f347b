"""A device for tests of /sync: it asks as `dexie-cloud-addon` does, and keeps what it is answered."""

import io
import itertools
from typing import Any

import msgspec

from admit.accounts.apps import App
from tests.contract.served import ORIGIN, Answered, Served

TSON = {"Content-Type": "application/tson", "Origin": ORIGIN}
UNDEFINED = {"$t": "undefined"}
ADA = "ada@example.com"

_numbers = itertools.count(1)


async def sync(served: Served, body: object, headers: dict[str, str] | None = None) -> Answered:
    """Sends a request as it is."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return await served.ask("POST", "/notes/sync", data=io.BytesIO(data), headers=TSON | (headers or {}))


class Device:
    """A local database. `objects`: what it holds, by table and key, but for the realm and the owner that the
    addon gives each; `user_id` "": a stranger's.
    """

    def __init__(self, served: Served, app: App, user_id: str = ADA, *, name: str = "") -> None:
        self.served = served
        self.app = app
        self.user_id = user_id
        self.name = name or f"device-{next(_numbers)}"
        self.objects: dict[tuple[str, str], Any] = {}
        self.last_pull: dict[str, Any] | None = None
        self.base_revs: list[dict[str, Any]] = []
        self.queue: list[dict[str, Any]] = []
        self.headers = served.bearer(app, user_id, seconds=86_400) if user_id else {}
        self._revs = itertools.count(1)

    def did(self, table: str, type_: str, *keys: str, txid: str = "", **more: Any) -> dict[str, Any]:
        """Queues an operation, of a transaction of its own unless `txid` is given."""
        rev = next(self._revs)
        mut = {"type": type_, "rev": rev, "opNo": rev, "ts": rev, "keys": list(keys)}
        mut |= {"txid": txid or f"{self.name}-{rev}", "userId": self.user_id} | more
        self.queue.append({"table": table, "muts": [mut]})
        return mut

    def put(self, table: str, key: str, value: dict[str, Any], **more: Any) -> None:
        """Writes an object here and queues it."""
        self.objects[table, key] = value
        self.did(table, "upsert", key, values=[self.mine | value], **more)

    def add(self, table: str, key: str, value: dict[str, Any], **more: Any) -> None:
        """Makes an object here and queues it."""
        self.objects[table, key] = value
        self.did(table, "insert", key, values=[self.mine | value], **more)

    def update(self, table: str, key: str, spec: dict[str, Any], **more: Any) -> None:
        """Changes properties here, where they are plain, and queues it."""
        self.objects.get((table, key), {}).update(spec)
        self.did(table, "update", key, changeSpecs=[spec], **more)

    def delete(self, table: str, *keys: str, **more: Any) -> None:
        """Deletes objects here and queues it."""
        for key in keys:
            self.objects.pop((table, key), None)
        self.did(table, "delete", *keys, **{"criteria": UNDEFINED} | more)

    @property
    def mine(self) -> dict[str, str]:
        """What the addon gives objects."""
        return {"realmId": self.user_id, "owner": self.user_id}

    @property
    def request(self) -> dict[str, Any]:
        """What it asks now."""
        return {
            "v": 3,
            "dbID": UNDEFINED if self.last_pull is None else self.app.app_id,
            "clientIdentity": self.name,
            "schema": {"todos": {"generatedGlobalId": True, "idPrefix": "tdo", "primaryKey": "id"}},
            "lastPull": self.last_pull or UNDEFINED,
            "baseRevs": self.base_revs,
            "changes": self.queue,
            "y": [],
            "dxcv": "4.4.14",
        }

    async def ask(self) -> Answered:
        """Sends what it has to say, and takes no notice of the answer: it may have been lost."""
        return await sync(self.served, self.request, self.headers)

    async def sync(self) -> Any:
        """Pushes and pulls; returns the answer, whose changes it has applied."""
        answer = await self.ask()
        assert answer.status == 200, answer.body
        self.take(answer.json)
        return answer.json

    def take(self, told: Any) -> None:
        """Takes over what it was answered."""
        self.queue = []
        self.apply(told["changes"])
        self.last_pull = {
            "serverRevision": told["serverRevision"],
            "yServerRevision": told["serverRevision"],
            "realms": told["realms"],
            "inviteRealms": told["inviteRealms"],
        }
        start = next(self._revs)
        tables = {table for table, _ in self.objects} | {"todos", "notes"}
        self.base_revs = [
            {"tableName": table, "clientRev": start, "serverRev": told["serverRevision"]} for table in tables
        ]

    def hear(self, told: Any) -> None:
        """Takes over what it was told by its socket."""
        assert self.last_pull is not None
        self.apply(told["changes"])
        self.last_pull["serverRevision"] = told["newRev"]
        start = next(self._revs)
        self.base_revs = [each | {"clientRev": start, "serverRev": told["newRev"]} for each in self.base_revs]

    def apply(self, changes: list[dict[str, Any]]) -> None:
        """Puts and deletes what the server has changed."""
        for change in changes:
            for mut in change["muts"]:
                for number, key in enumerate(mut["keys"]):
                    place = change["table"], key
                    if mut["type"] == "upsert":
                        value = mut["values"][number]
                        self.objects[place] = {
                            name: value[name] for name in value if name not in ("realmId", "owner")
                        }
                    else:
                        assert mut["type"] == "delete"
                        self.objects.pop(place, None)
