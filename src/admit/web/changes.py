"""The socket on which an open client hears of changes: of data, of its user, and that its session ends."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from admit.accounts import users
from admit.accounts.apps import App
from admit.accounts.licenses import license_of
from admit.accounts.session_standing import Tenant, tenants_by_key
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.data.change_news import Visitor
from admit.errors import AdmitError, Forbidden, InvalidRequest, InvalidToken, RateLimited, Unavailable
from admit.gateway import Gateway
from admit.signin.email_addresses import network_of
from admit.storage.transaction import Transaction
from admit.web.bearer import end_of_token, verified
from admit.web.errors import answer_for
from admit.web.operations import QUERY_FIELDS_MAX, unquoted
from admit.web.sockets import (
    NOTHING,
    POLICY_VIOLATION,
    TOKEN_EXPIRED,
    TRY_LATER,
    Close,
    Message,
    Person,
    SessionKey,
    Socket,
    converse,
)

SOCKETS_MAX = 20_000
SOCKETS_PER_USER_MAX = 32
ANONYMOUS_PER_ADDRESS_MAX = 256
CLIENT_CHARACTERS_MAX = 100
GRACE_SECONDS = 60.0
"""How long a socket stays open after its access token has ended."""
LOOK_AT_ONCE = 200
LOOK_AGAIN_SECONDS = 1.0


log = structlog.get_logger("admit.web")


class Found(msgspec.Struct, frozen=True):
    """What is stored of those who hold sockets."""

    people: Mapping[Person, User]
    tenants: Mapping[SessionKey, Tenant]


class Hub:
    """All sockets of this process. Hears of changed users and sessions, whichever process changed them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sockets: set[Socket] = set()
        self._by_key: defaultdict[str, set[Socket]] = defaultdict(set)
        self._anonymous: defaultdict[str, int] = defaultdict(int)
        self._by_session: defaultdict[str, set[Socket]] = defaultdict(set)
        self._doubted: set[Socket] = set()
        self._looking: asyncio.Task[None] | None = None
        self._unsubscribe = (
            gateway.db.signals.subscribe("user", self._on_user),
            gateway.db.signals.subscribe("session", self._on_session),
        )

    async def close(self) -> None:
        """Stops listening. The sockets themselves are closed by the server."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def serve(self, websocket: WebSocket) -> None:
        """Serves one connection until it ends."""
        try:
            app = await self._gateway.directory.app(unquoted(websocket.path_params["app"]))
            query = _query_of(websocket)
            token, client = _only(query, "token"), _only(query, "clientId") or ""
            _check_origin(app, websocket.headers.getlist("origin"), anonymous=token is None)
            claims = None if token is None else self._verified(token, app)
            person = None if claims is None else (app.app_id, claims.sub)
            address = network_of(websocket.client.host) if websocket.client else ""
            self._check_room(person, address)
        except InvalidToken:
            await _turn_back(websocket)
            return
        except AdmitError as error:
            await websocket.send_denial_response(answer_for(error))
            return
        socket = Socket(app, claims, address, client[:CLIENT_CHARACTERS_MAX])
        self._add(socket)
        started, code = time.monotonic(), 0
        try:
            await websocket.accept()
            if claims is not None:
                await self._watch(socket, claims)
            else:
                self._let_hear(socket, None)
            code = await converse(websocket, socket, partial(self._heard, socket))
        except WebSocketDisconnect as end:
            code = end.code
        except AdmitError as error:  # the database does not answer
            code = TRY_LATER
            with suppress(WebSocketDisconnect):
                await websocket.close(code, error.code)
        finally:
            self._remove(socket)
            log.info(
                "socket",
                app=app.name,
                anonymous=person is None,
                code=code,
                duration_ms=round((time.monotonic() - started) * 1000),
            )

    # Who may connect

    def _verified(self, token: str, app: App) -> AccessClaims:
        return verified(self._gateway, app, token)

    def _check_room(self, person: Person | None, address: str) -> None:
        if len(self._sockets) >= SOCKETS_MAX:
            raise Unavailable("This server has too many open sockets.", retry_after_seconds=30)
        if person is not None:
            full = len(self._by_key.get(_key(person), ())) >= SOCKETS_PER_USER_MAX
        else:
            full = self._anonymous.get(address, 0) >= ANONYMOUS_PER_ADDRESS_MAX
        if full:
            raise RateLimited("Too many open sockets.", retry_after_seconds=60)

    def _add(self, socket: Socket) -> None:
        self._sockets.add(socket)
        if socket.session is not None:
            self._by_session[_key(socket.session)].add(socket)
        if socket.person is not None:
            self._by_key[_key(socket.person)].add(socket)
        else:
            self._anonymous[socket.address] += 1

    def _remove(self, socket: Socket) -> None:
        self._sockets.discard(socket)
        self._doubted.discard(socket)
        self._silence(socket)
        for timer in socket.timers:
            timer.cancel()
        if socket.person is None:
            self._anonymous[socket.address] -= 1
            if not self._anonymous[socket.address]:
                del self._anonymous[socket.address]
            return
        _drop(self._by_key, _key(socket.person), socket)
        if socket.session is not None:
            _drop(self._by_session, _key(socket.session), socket)

    def _heard(self, socket: Socket, message: Message) -> None:
        """Notes that the device is there, unless its socket is about to close, and how far it says it is."""
        if socket.is_ending:
            return
        if socket.session is not None:
            self._gateway.connections.note(*socket.session)
        if message.type == "ready" and socket.visitor is not None:
            self._gateway.change_news.ready(socket.visitor, message.rev, message.realm_set_hash)

    # What a client is told

    async def _watch(self, socket: Socket, claims: AccessClaims) -> None:
        """Arms the timers of the token, and looks whether its user has changed since it was made.

        The socket hears signals already, so that no change falls between token and signal.
        """
        now = self._gateway.clock()
        left = max(0.0, claims.exp - now / 1000)
        socket.later(left, "refresh")
        socket.later(left + GRACE_SECONDS, Close(POLICY_VIOLATION, "the access token has ended"))
        found = await self._read([socket])
        if self._ends(socket, found):
            return
        self._heard(socket, NOTHING)
        assert socket.person is not None
        user = found.people.get(socket.person)
        socket.facts = _facts(user)
        self._let_hear(socket, user)
        if not claims.license:
            return  # the token of an API client, whom no user stands behind
        if user is None or license_of(user, now) != claims.license:
            socket.refresh()
        elif user.updated_at != user.created_at and user.updated_at // 1000 >= claims.iat:
            # Tokens tell their second only. Once that second is over, a new token is surely newer.
            socket.later(max(0.0, user.updated_at // 1000 + 1 - now / 1000), "refresh")

    def _on_user(self, key: str | None) -> None:
        if key is None:
            self._doubt(self._sockets)
            return
        changed = self._by_key.get(key, ())
        for socket in changed:
            socket.has_changed = True
        self._doubt(changed)

    def _on_session(self, key: str | None) -> None:
        if key is not None:  # else `_on_user` doubts everybody
            self._doubt(self._by_session.get(key, ()))

    def _doubt(self, some: Iterable[Socket]) -> None:
        """Has somebody look whether `some` may go on, and as whom."""
        self._doubted.update(socket for socket in some if socket.person is not None)
        if self._looking is None and self._doubted:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """Looks at the users and sessions of the sockets that are doubted."""
        try:
            while some := list(islice(self._doubted, LOOK_AT_ONCE)):
                self._doubted.difference_update(some)
                try:
                    found = await self._read(some)
                except AdmitError as error:
                    log.warning("sockets.cannot_look", code=error.code)
                    self._doubted.update(self._sockets.intersection(some))
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                else:
                    for socket in some:
                        if socket in self._sockets and not self._ends(socket, found):
                            self._compare(socket, found)
        finally:
            self._looking = None

    def _ends(self, socket: Socket, found: Found) -> bool:
        """Whether the socket may not go on, which it is told."""
        assert socket.claims is not None
        assert socket.person is not None
        end = end_of_token(
            socket.app,
            socket.claims,
            user=found.people.get(socket.person),
            tenant=found.tenants.get(socket.session) if socket.session else None,
            now=self._gateway.clock(),
        )
        if end is not None:
            self._silence(socket)
            socket.end(end)
        return end is not None

    def _compare(self, socket: Socket, found: Found) -> None:
        """Has the client refresh if its user is another than the one it knows of."""
        assert socket.person is not None
        user = found.people.get(socket.person)
        facts = _facts(user)
        if socket.has_changed or socket.facts != facts:
            socket.has_changed = False
            socket.facts = facts
            self._let_hear(socket, user)
            socket.refresh()

    def _let_hear(self, socket: Socket, user: User | None) -> None:
        """Lets the client hear of changed data, if it may sync. `user`: None where it is a stranger's."""
        claims = socket.claims
        if claims is None:
            visitor = Visitor(socket.app.app_id, None, "", socket.client, socket.say)
        elif user is None or not may_hear(user, claims, self._gateway.clock()):
            self._silence(socket)
            return
        else:
            visitor = Visitor(socket.app.app_id, user.uid, user.user_id, socket.client, socket.say)
        if socket.visitor is None or socket.visitor.realm != visitor.realm:
            self._silence(socket)
            socket.visitor = visitor
            self._gateway.change_news.enter(visitor)

    def _silence(self, socket: Socket) -> None:
        """Tells the client no more of changed data."""
        if socket.visitor is not None:
            self._gateway.change_news.leave(socket.visitor)
            socket.visitor = None

    async def _read(self, some: Iterable[Socket]) -> Found:
        keys = [socket.session for socket in some if socket.session is not None]
        others = [each.person for each in some if each.session is None and each.person is not None]

        def query(tx: Transaction) -> Found:
            tenants = tenants_by_key(tx, keys)
            known = {(each.user.app_id, each.user.user_id): each.user for each in tenants.values()}
            return Found(known | users.by_user_id(tx, others), tenants)

        return await self._gateway.db.read(query)


async def _turn_back(websocket: WebSocket) -> None:
    """Refuses a token. The addon, turned away at the door, would wait for its user to do something; told that
    its token has ended, it gets itself a new one.
    """
    with suppress(WebSocketDisconnect):
        await websocket.accept()
        await websocket.send_text(TOKEN_EXPIRED)
        await websocket.close(POLICY_VIOLATION, "the access token is not valid here")


def _query_of(websocket: WebSocket) -> dict[str, list[str]]:
    query = websocket.scope.get("hidden_query", b"").decode("latin-1")
    try:
        return parse_qs(query, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        raise InvalidRequest("The query cannot be read.") from None


def _only(query: Mapping[str, list[str]], name: str) -> str | None:
    values = query.get(name, [])
    return values[0] if len(values) == 1 else None


def may_hear(user: User, claims: AccessClaims, now: int) -> bool:
    """Whether who holds a token with `claims` for `user` may sync, and so hears of changes. Pure."""
    return "ACCESS_DB" in claims.scopes and license_of(user, now) == "ok"


def _check_origin(app: App, origins: list[str], *, anonymous: bool) -> None:
    """Browsers always send an Origin. Programs send none, and have a token."""
    if origins and (len(origins) > 1 or origins[0] not in app.origins):
        raise Forbidden(f"This origin is not allowed. Allow it with: admit origin add {app.name} ORIGIN")
    if not origins and anonymous:
        raise Forbidden("A socket needs an Origin or a token.")


def _facts(user: User | None) -> object:
    """What must not change without the client hearing of it."""
    return user and (user.uid, user.updated_at, user.deactivated_at, user.expired_at)


def _key(of: Person | SessionKey) -> str:
    """The key of the signals "user" and "session"."""
    return f"{of[0]}/{of[1]}"


def _drop(sockets: defaultdict[str, set[Socket]], key: str, socket: Socket) -> None:
    sockets[key].discard(socket)
    if not sockets[key]:
        del sockets[key]
