"""Many clients of several people, offline for long, with lost answers and repeated requests: in the end all
have the same, nothing counts twice, and nobody has seen anything of anybody else.

The clients are models of `dexie-cloud-addon` (addon_model.py); what they send goes to pushing and reading
directly. The dice are seeded: a failure names its seed.
"""

import random

import msgspec
import pytest

from admit.data import pushing, reading, writing
from admit.data.changed import PUBLIC
from admit.data.criteria import Criteria
from admit.data.markers import Marker
from admit.data.operations import Author, Batch, Operation
from admit.storage.database import Database
from tests.contract.addon_model import AddonModel, Request, State, Value
from tests.residents import APP, move_in, person, start_app

TABLES = ("items", "counters")
KEYS = ("a", "b", "c", "d", "e", '["x",1]', "#own")
COUNTERS = ("n1", "n2")
PUBLIC_KEYS = ("P1", "P2", "P3")
STEPS = 420


class World:
    """A server, two people with three clients each, a stranger, and a program that writes by REST."""

    def __init__(self, database: Database, seed: int) -> None:
        self.db = database
        self.dice = random.Random(seed)
        self.people = {"usr_ada": "ada@example.com", "usr_ben": "ben@example.com"}
        self.clients: list[AddonModel] = []
        self.stranger = AddonModel("", "unauthorized", "stranger", TABLES, self.dice)
        self.added: dict[str, dict[str, int]] = {uid: dict.fromkeys(COUNTERS, 0) for uid in self.people}
        self.values = 0

    async def open(self) -> None:
        """The app, its people, and what is there when the clients come."""
        await start_app(self.db)
        for uid, user_id in self.people.items():
            await move_in(self.db, person(user_id, uid=uid))
            counters = [(key, {"n": 0, "secret": uid}) for key in COUNTERS]
            await self.rest(uid, [_put("counters", key, value) for key, value in counters])
        await self.rest(PUBLIC, [_put("items", key, {"v": 0}) for key in PUBLIC_KEYS])

    def enter(self, uid: str) -> None:
        """A new device; what was written on it before somebody signed in waits to be uploaded."""
        name = f"client{len(self.clients)}"
        client = AddonModel(uid, self.people[uid], name, TABLES, self.dice)
        if self.dice.random() < 0.5:
            early = {"v": self.value(), "realmId": client.user_id, "owner": client.user_id}
            client.tables["items"][f"early{name}"] = early
        self.clients.append(client)

    def value(self) -> int:
        """A number that no other value has."""
        self.values += 1
        return self.values

    async def rest(self, realm: str, operations: list[Operation]) -> None:
        """A program writes."""
        author = Author(uid=None, user_id="", client_id="clt", may_write_public=True)
        batch = Batch(
            app_id=APP,
            realm=realm,
            realm_id=self.people.get(realm, realm),
            author=author,
            operations=tuple(operations),
            now=1,
        )
        written = await self.db.write_together(writing.write, batch)
        assert not written.rejections

    async def send(self, client: AddonModel, request: Request) -> tuple[Marker, list[State]]:
        """What POST /sync does, as web/sync_answers.py does it."""
        written = None
        if request.batch is not None:
            batch = msgspec.structs.replace(request.batch, app_id=APP)
            written = await pushing.push(self.db, batch)
        last = request.last
        states: list[tuple[str, str, str | None]] = []
        if (
            last is not None
            and written is not None
            and (written.epoch, written.before, written.public) == (last.epoch, last.private, last.public)
        ):
            until = msgspec.structs.replace(last, private=written.after)
        else:
            heads = await reading.heads(self.db, APP, [client.uid, PUBLIC])
            private, public = heads.revisions[client.uid], heads.revisions[PUBLIC]
            until = Marker(heads.epoch, client.sign, private, public)
            spared = client.identity if written is not None and last is not None else ""
            since = Marker(heads.epoch, client.sign, 0, 0) if last is None else last
            if client.uid:
                states += await self.pages(client.uid, since.private, private, spared, None)
            states += await self.pages(PUBLIC, since.public, public, "", client.uid or None)
        if written is not None and written.corrected:
            states += await reading.of_keys(self.db, APP, client.uid, written.corrected)
        return until, [_decoded(each) for each in states]

    async def pages(
        self, realm: str, after: int, until: int, spared: str, beneath: str | None
    ) -> list[tuple[str, str, str | None]]:
        found = reading.pages(self.db, APP, realm, after, until, client=spared, beneath=beneath)
        return [each async for page in found for each in page]

    async def tell(self, client: AddonModel) -> None:
        """What the socket does: only what others have written, or nothing."""
        if client.marker is None or client.in_flight is not None:
            return
        base = client.marker
        heads = await reading.heads(self.db, APP, [client.uid, PUBLIC])
        private, public = heads.revisions[client.uid], heads.revisions[PUBLIC]
        states = await self.pages(client.uid, base.private, private, client.identity, None)
        states += await self.pages(PUBLIC, base.public, public, "", client.uid)
        if states:
            until = Marker(heads.epoch, client.sign, private, public)
            client.told(base, until, [_decoded(each) for each in states])

    async def settle(self) -> None:
        """Everybody is online again, until nothing is new for anybody."""
        for client in self.clients:
            if client.in_flight is not None:
                client.lost()
        for _ in range(3):
            for client in [*self.clients, self.stranger]:
                await self.sync(client)

    async def sync(self, client: AddonModel) -> None:
        """Requests and their answers, until nothing waits: one, unless the clock was set back."""
        client.answered(*await self.send(client, client.request()))
        while client.queue:
            client.answered(*await self.send(client, client.request()))

    async def stored(self, realm: str) -> dict[tuple[str, str], Value]:
        """What the server has."""
        heads = await reading.heads(self.db, APP, [realm])
        rows = await self.pages(realm, 0, heads.revisions[realm], "", None)
        return {(table, key): value for table, key, value in map(_decoded, rows) if value is not None}


def _put(table: str, key: str, value: Value) -> Operation:
    return Operation(table=table, type="upsert", keys=(key,), values=(value,))


def _decoded(state: tuple[str, str, str | None]) -> State:
    table, key, value = state
    return table, key, None if value is None else msgspec.json.decode(value)


async def act(world: World, client: AddonModel) -> None:
    """An app does something in its local database."""
    dice = world.dice
    txid = client.begin()
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        key = dice.choice(KEYS)
        match dice.randrange(13):
            case 0 | 1:
                client.add(txid, "items", key, {"v": world.value(), "secret": client.uid})
            case 2 | 3:
                client.put(txid, "items", key, {"v": world.value(), "tags": ["t"], "w": dice.randrange(4)})
            case 4:
                client.update(txid, "items", [key], {"v": world.value()})
            case 5:
                client.update(
                    txid, "items", list(dice.sample(KEYS, 3)), {"w": dice.randrange(4), "deep.x": 1}
                )
            case 6:
                client.update(txid, "items", [key], {"sum": {"@@propmod": {"add": 1}}})
            case 7:
                client.delete(txid, "items", dice.sample(KEYS, dice.choice((1, 2))))
            case 8:
                low = dice.randrange(4)
                span = {"type": 2, "lower": low, "upper": low + 1, "lowerOpen": False, "upperOpen": False}
                client.modify(txid, "items", Criteria("w", span), {"m": {"@@propmod": {"add": 1}}})
            case 9 if dice.random() < 0.3:
                equal = {"type": 1, "lower": dice.randrange(4), "upper": None}
                client.delete_where(txid, "items", Criteria("w", equal))
            case 10:
                client.upsert(txid, "items", key, {"v": world.value(), "u": 1})
            case 11 if dice.random() < 0.4:
                await misbehave(world, client, txid)
            case _:
                counter = dice.choice(COUNTERS)
                if counter in client.tables["counters"]:
                    client.update(f"{txid}+", "counters", [counter], {"n": {"@@propmod": {"add": 1}}})
                    world.added[client.uid][counter] += 1


async def misbehave(world: World, client: AddonModel, txid: str) -> None:
    """What the server does not take."""
    seen = [key for key in PUBLIC_KEYS if key in client.tables["items"]]
    match world.dice.randrange(4):
        case 0:
            client.put(txid + "!", "items", world.dice.choice(KEYS[:5]), {"realmId": "rlm-other", "v": -1})
        case 1 if seen:
            client.update(txid + "!", "items", [seen[0]], {"v": -1})
        case 2 if seen:
            client.delete(txid + "!", "items", seen[:1])
        case 3:
            client.put(txid + "!", "items", "e", {"v": -1, "deep": {"x": "x" * 1_000_001}})


async def step(world: World) -> None:
    """Something happens somewhere."""
    dice = world.dice
    client = dice.choice(world.clients)
    match dice.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            await act(world, client)
        case 5 | 6 | 7 if client.in_flight is None:
            request = client.request()
            answer = await world.send(client, request)
            _answers[client.identity] = answer
            if dice.random() < 0.3:
                await act(world, client)
            if dice.random() < 0.25:
                client.lost()
            elif dice.random() < 0.7:
                client.answered(*answer)
        case 8 if client.in_flight is not None:
            client.answered(*_answers[client.identity])
        case 9:
            await world.tell(client)
        case 10:
            await write_from_elsewhere(world)
        case 11 if dice.random() < 0.1 and len(world.clients) < 8:
            world.enter(dice.choice(list(world.people)))


_answers: dict[str, tuple[Marker, list[State]]] = {}


async def write_from_elsewhere(world: World) -> None:
    """A program changes something of a person or of everybody."""
    dice = world.dice
    if dice.random() < 0.3:
        key = dice.choice(PUBLIC_KEYS)
        gone = Operation(table="items", type="delete", keys=(key,))
        put = _put("items", key, {"v": world.value()})
        await world.rest(PUBLIC, [gone if dice.random() < 0.3 else put])
        return
    uid = dice.choice(list(world.people))
    key = dice.choice(KEYS[:5])
    match dice.randrange(3):
        case 0:
            await world.rest(uid, [_put("items", key, {"v": world.value(), "by": "rest", "w": 2})])
        case 1:
            await world.rest(uid, [Operation(table="items", type="delete", keys=(key,))])
        case 2:
            more = {"r": {"@@propmod": {"add": 1}}}
            await world.rest(uid, [Operation(table="items", type="update", keys=(key,), specs=(more,))])


@pytest.mark.parametrize("seed", [*range(8), 72, 207])
async def test_all_clients_come_to_the_same_in_the_end(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # everything is divided
        monkeypatch.setattr(pushing, "UNIT_KEYS", 2)
        monkeypatch.setattr(pushing, "PIECE_KEYS", 2)
        monkeypatch.setattr(reading, "SMALL_STEP", 0)
        monkeypatch.setattr(reading, "PAGE_BYTES_MAX", 300)
    world = World(database, seed)
    await world.open()
    for uid in [*world.people, *world.people, *world.people]:
        world.enter(uid)
    _answers.clear()
    for _ in range(STEPS):
        await step(world)
    await world.settle()

    everybodys = await world.stored(PUBLIC)
    assert {("items", key): row for key, row in world.stranger.tables["items"].items()} == everybodys
    for uid, user_id in world.people.items():
        stored = await world.stored(uid)
        for counter, times in world.added[uid].items():
            assert stored["counters", counter]["n"] == times, f"seed {seed}: {counter} of {uid}"
        assert all(row["realmId"] == user_id for row in stored.values())
        assert not {str(row.get("secret", uid)) for row in stored.values()} - {uid}
        for client in [each for each in world.clients if each.uid == uid]:
            assert not client.queue
            mine = {
                (table, _sent(key, user_id)): v
                for table, rows in client.tables.items()
                for key, v in rows.items()
            }
            assert mine == stored | everybodys, f"seed {seed}: {client.identity}"


def _sent(key: str, user_id: str) -> str:
    return f"{key}:{user_id}" if key.startswith("#") else key
