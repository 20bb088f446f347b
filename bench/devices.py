"""Devices of people, as dexie-cloud-addon makes them: what they send to /sync and hear on /changes."""

import asyncio
import base64
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

import aiohttp
import msgspec
import uvloop

from bench import load, objects, servers

ADDON = "4.4.14"
SCHEMA = {
    objects.TABLE: {
        "generatedGlobalId": True,
        "idPrefix": "nts",
        "primaryKey": "@id",
        "markedForSync": True,
        "initiallySynced": True,
    }
}

_transactions = itertools.count(1)


class Changed(msgspec.Struct):
    """What is read of a change that is told."""

    keys: list[str] = []


class TableChanged(msgspec.Struct):
    """The changes of a table."""

    muts: list[Changed] = []


class Told(msgspec.Struct):
    """What is read of an answer of /sync, and of a message of /changes."""

    server_revision: str = msgspec.field(name="serverRevision", default="")
    realms: list[str] = []
    changes: list[TableChanged] = []
    rejections: list[msgspec.Raw] = []
    type: str = ""
    new_rev: str = msgspec.field(name="newRev", default="")

    def keys(self) -> list[str]:
        """Of all objects that have changed."""
        return [key for table in self.changes for change in table.muts for key in change.keys]


_decoder = msgspec.json.Decoder(Told)


class Device:
    """One local database: whose it is, what it has, and what it does next."""

    def __init__(self, server: servers.Server, person: int, token: str, *, notes: int) -> None:
        self.person = person
        self.token = token
        self.client = base64.b64encode(hashlib.sha256(token.encode()).digest())[:16].decode()
        self.revision = ""
        self.realms: list[str] = []
        self._server = server
        self._notes = notes
        self._written = 0
        self._turn = itertools.count(1)

    @property
    def realm_set_hash(self) -> str:
        known = [{"realmId": realm, "accepted": True} for realm in sorted(self.realms)]
        return base64.b64encode(
            hashlib.sha1(json.dumps(known, separators=(",", ":")).encode()).digest()
        ).decode()

    def pull(self) -> bytes:
        """The request that asks what is new; of a device that has nothing yet, for everything."""
        return self._request([])

    async def first_pull(self) -> bytes:
        """The body of what a device is answered that has nothing yet."""
        self.revision = ""
        _head, _, body = self.pull().partition(b"\r\n\r\n")
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/tson"}
        url = f"http://127.0.0.1:{self._server.port}/{self._server.app}/sync"
        async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as answer:
            if answer.status != 200:
                raise SystemExit(f"a first sync failed: {await answer.text()}")
            return await answer.read()

    def push(self) -> tuple[bytes, str]:
        """A request that makes a note, and the next time one that changes a note; and the key of it."""
        turn = next(self._turn)
        mutation = {
            "ts": int(time.time() * 1000),
            "opNo": 1,
            "txid": f"{self.client}{next(_transactions)}",
            "userId": objects.user_id(self.person),
            "rev": turn,
        }
        if turn % 2 or not self._notes:
            self._written += 1
            key = f"nts{self.client}{self._written:09d}"
            mutation |= {"type": "insert", "keys": [key], "values": [objects.note(self.person, key)]}
        else:
            key = objects.key(self.person, turn * 7919 % self._notes + 1)
            mutation |= {
                "type": "update",
                "keys": [key],
                "changeSpecs": [{"done": True, "title": f"Done {turn}"}],
            }
        base = {"tableName": objects.TABLE, "clientRev": turn, "serverRev": self.revision}
        return self._request([{"table": objects.TABLE, "muts": [mutation]}], base), key

    def take(self, answer: bytes) -> Told:
        """Reads an answer, and goes on behind it. Raises SystemExit for one that is not as wanted."""
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 OK" not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(f"a sync failed: {answer[:600]!r}")
        return self.told(body)

    def told(self, body: bytes) -> Told:
        """Reads the body of an answer, and goes on behind it."""
        told = _decoder.decode(body)
        if told.rejections or not told.server_revision:
            raise SystemExit(f"a push was rejected: {body[:600]!r}")
        self.revision, self.realms = told.server_revision, told.realms
        return told

    def _request(self, changes: list[object], base: object = None) -> bytes:
        had = {"serverRevision": self.revision, "realms": self.realms, "inviteRealms": []}
        body = {
            "v": 3,
            "clientIdentity": self.client,
            "schema": SCHEMA,
            **({"lastPull": had} if self.revision else {}),
            "baseRevs": [base] if base else [],
            "changes": changes,
            "y": [],
            "dxcv": ADDON,
        }
        text = msgspec.json.encode(body)
        head = (
            f"POST /{self._server.app}/sync HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n"
            f"authorization: Bearer {self.token}\r\ncontent-type: application/tson\r\n"
            f"content-length: {len(text)}\r\n\r\n"
        )
        return head.encode() + text


def sign_in(server: servers.Server, crowd: Iterable[int], public_key: str) -> list[str]:
    """Access tokens of people, by their numbers, each on the device that holds this key."""
    return uvloop.run(_sign_in(server, crowd, public_key))


async def _sign_in(server: servers.Server, crowd: Iterable[int], public_key: str) -> list[str]:
    connection, tokens = await load.connect(server.port), []
    for person in crowd:
        name = objects.user_id(person)
        body = {
            "grant_type": "client_credentials",
            "client_id": server.client_id,
            "client_secret": server.client_secret,
            "scopes": ["ACCESS_DB"],
            "public_key": public_key,
            "claims": {"sub": name, "email": name},
        }
        answer = await connection.send(load.post(f"/{server.app}/token", json.dumps(body).encode()))
        tokens.append(json.loads(answer.partition(b"\r\n\r\n")[2])["accessToken"])
    connection.close()
    return tokens


async def listen(
    server: servers.Server, device: Device, on_keys: Callable[[list[str]], None], ready: asyncio.Event
) -> None:
    """Hears of changes on the socket until it is cancelled, as an open page does.

    `on_keys` is called with the keys of what has come; `ready` is set once the socket is open. Where it is
    told that there is more than a message holds, it pulls.
    """
    query = {
        "v": "3", "rev": device.revision, "realmsHash": device.realm_set_hash, "clientId": device.client,
        "dxcv": ADDON, "token": device.token,
    }  # fmt: skip
    url = f"http://127.0.0.1:{server.port}/{server.app}/changes?{urlencode(query)}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url) as socket:
        connection = await load.connect(server.port)
        revision = device.revision
        while True:
            said = {"type": "ready", "rev": revision, "realmSetHash": device.realm_set_hash}
            await socket.send_json(said)
            ready.set()
            told = Told(type="pong")
            while told.type not in ("changes", "realms-changed"):
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise SystemExit(f"a socket was closed: {message}")
                told = _decoder.decode(message.data)
            if told.type == "realms-changed":
                told = device.take(await connection.send(device.pull()))
                revision = device.revision
            else:
                revision = device.revision = told.new_rev
            on_keys(told.keys())
