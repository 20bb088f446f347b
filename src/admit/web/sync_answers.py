"""What a client is answered at /sync: everything that it lacks, and how far it is then.

What was written until we looked is told, in that order; who writes meanwhile is heard of by the next pull.
"""

from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec
from msgspec.structs import replace
from starlette.responses import Response, StreamingResponse

from admit.accounts.apps import App
from admit.accounts.users import User
from admit.data import reading, wire
from admit.data.changed import PUBLIC
from admit.data.markers import Marker, sign_of
from admit.data.operations import UNKNOWN, Written
from admit.data.reading import Heads
from admit.gateway import Gateway
from admit.web.sync_requests import SyncRequest

AT_ONCE_BYTES_MAX = 262_144
"""A larger answer is streamed."""
CORRECTED_AT_ONCE = 20
"""Objects may have 1 MB each."""


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. `realm`: the uid of its person, called `realm_id` there; None: a stranger.

    `last`: how far it is, by what it tells; UNKNOWN where that is nothing of this database and this realm.
    `had_private`, `had_public`: it has had the realm before, so that it must hear of what was deleted there
    even where nobody knows how far it was. `client`: which local database it is.
    """

    app_id: str
    realm: str | None
    realm_id: str
    last: Marker
    had_private: bool
    had_public: bool
    client: str

    @property
    def realms(self) -> list[str]:
        """Those that the client may have, as it calls them."""
        return [PUBLIC] if self.realm is None else [PUBLIC, self.realm_id]


class _Span(msgspec.Struct, frozen=True):
    """A part of a realm's history, but what `spared` has written."""

    realm: str
    after: int
    until: int
    with_deleted: bool
    spared: str


def pull_of(app: App, user: User | None, request: SyncRequest) -> Pull:
    """What the client lacks. Nothing that it tells of another database or another realm is believed. Pure."""
    realm = None if user is None else user.uid
    had = [] if request.last_pull is None else request.last_pull.realms
    marker = None if request.last_pull is None else Marker.parse(request.last_pull.server_revision)
    if marker is None or request.db_id not in (None, app.app_id):
        marker = Marker("", "", UNKNOWN, UNKNOWN)
    had_private = user is not None and user.user_id in had
    knows_private = had_private and marker.sign == sign_of(realm)
    return Pull(
        app_id=app.app_id,
        realm=realm,
        realm_id="" if user is None else user.user_id,
        last=Marker(
            marker.epoch,
            sign_of(realm),
            marker.private if knows_private else UNKNOWN,
            marker.public if PUBLIC in had else UNKNOWN,
        ),
        had_private=had_private,
        had_public=PUBLIC in had,
        client=request.client_identity,
    )


async def answer(
    gateway: Gateway, pull: Pull, written: Written | None, schema: msgspec.Raw, told: Mapping[str, str]
) -> Response:
    """The answer: streamed where it is long. One that breaks off ends the connection, so that nobody takes it
    for whole. `written`: what came of what the client has pushed. `told`: further headers.
    """
    text = _text(gateway, pull, written, schema)
    begun: list[bytes] = []
    size = 0
    async for piece in text:
        begun.append(piece)
        size += len(piece)
        if size > AT_ONCE_BYTES_MAX:
            streamed = _resumed(b"".join(begun), text)
            return StreamingResponse(streamed, headers=dict(told), media_type="application/json")
    return Response(b"".join(begun), headers=dict(told), media_type="application/json")


async def _resumed(begun: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for piece in rest:
        yield piece


async def _text(
    gateway: Gateway, pull: Pull, written: Written | None, schema: msgspec.Raw
) -> AsyncIterator[bytes]:
    until = None if written is None else _if_alone(pull.last, written)
    spans: list[_Span] = []
    if until is None:
        heads = await reading.heads(gateway.db, pull.app_id, [pull.realm or PUBLIC, PUBLIC])
        until = Marker(
            heads.epoch,
            pull.last.sign,
            0 if pull.realm is None else heads.revisions[pull.realm],
            heads.revisions[PUBLIC],
        )
        spans = _spans(pull, heads, pushed=written is not None)
    beginning = {
        "serverRevision": str(until),
        "dbId": pull.app_id,
        "realms": pull.realms,
        "inviteRealms": [],
        "schema": schema,
    }
    yield msgspec.json.encode(beginning)[:-1] + b',"changes":['
    comma = b""
    async for changes in _changes(gateway, pull, spans, written):
        yield comma + changes
        comma = b","
    yield b'],"rejections":' + msgspec.json.encode(() if written is None else written.rejections) + b"}"
    gateway.change_news.has_pulled(pull.app_id, pull.client, until)


async def _changes(
    gateway: Gateway, pull: Pull, spans: list[_Span], written: Written | None
) -> AsyncIterator[bytes]:
    """What is new, and what is another than the client takes it for, in pieces."""
    for span in spans:
        async for states in reading.pages(
            gateway.db,
            pull.app_id,
            span.realm,
            span.after,
            span.until,
            client=span.spared,
            with_deleted=span.with_deleted,
            beneath=pull.realm if span.realm == PUBLIC else None,
        ):
            yield wire.changes(states)
    if written is not None and pull.realm is not None:
        for some in _in_pieces(written.corrected):
            yield wire.changes(await reading.of_keys(gateway.db, pull.app_id, pull.realm, some))


def _in_pieces(places: tuple[tuple[str, str], ...]) -> Iterator[tuple[tuple[str, str], ...]]:
    """So few at a time that objects of any size can be held."""
    for start in range(0, len(places), CORRECTED_AT_ONCE):
        yield places[start : start + CORRECTED_AT_ONCE]


def _if_alone(last: Marker, written: Written) -> Marker | None:
    """How far the client is where nobody else has written since its last pull; None: somebody has. Pure."""
    is_alone = (written.epoch, written.before, written.public) == (last.epoch, last.private, last.public)
    return replace(last, private=written.after) if is_alone and last.private != UNKNOWN else None


def _spans(pull: Pull, heads: Heads, *, pushed: bool) -> list[_Span]:
    """What to tell. Who is ahead of us speaks of another state, and is told everything. Pure.

    Of a client that has pushed nothing we cannot know that it has what it has ever written.
    """
    knows = pull.last.epoch == heads.epoch
    spans = [_span(PUBLIC, pull.last.public if knows else UNKNOWN, heads, pull.had_public, "")]
    if pull.realm is not None:
        after = pull.last.private if knows else UNKNOWN
        spans.insert(0, _span(pull.realm, after, heads, pull.had_private, pull.client if pushed else ""))
    return spans


def _span(realm: str, after: int, heads: Heads, had: bool, spared: str) -> _Span:
    until = heads.revisions[realm]
    if 0 <= after <= until:
        return _Span(realm, after, until, with_deleted=True, spared=spared)
    return _Span(realm, 0, until, with_deleted=had, spared="")
