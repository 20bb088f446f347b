"""Who may read and write which rows by REST. Source: the Dexie Cloud contract (docs/compat.md).

`/all` is for programs with the GLOBAL scopes, `/my` for people and who acts for them, in their own realm, and
`/public` can be read by everybody.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal, assert_never

import msgspec

from admit.accounts.apps import App
from admit.accounts.licenses import license_of
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.data import realms
from admit.data.authors import Author
from admit.data.realms import PUBLIC, PUBLIC_REALM, Realm
from admit.errors import Forbidden, NotBuilt, NotFound, Refused
from admit.signin.proof import user_id_as_known
from admit.storage.database import Database
from admit.web.bearer import Holder, holder, holder_if_any, require
from admit.web.operations import Call
from admit.web.rate_limits import count_rest

Where = Literal["all", "my", "public"]

TABLES_OF_REALMS = frozenset({"realms", "members", "roles"})


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was let in. `realm`: the only one it reaches, None for all; `headers` tell how often."""

    app: App
    realm: Realm | None
    author: Author | None
    headers: Mapping[str, str]


async def enter(call: Call, where: Where) -> Visit:
    """Lets a call in that reads, or writes where its method is no GET. Raises Forbidden and others."""
    app = await call.app()
    writes = call.operation.method != "GET"
    match where:
        case "all":
            asking = await holder(call, app)
            require(asking.claims, "ACCESS_DB", "GLOBAL_WRITE" if writes else "GLOBAL_READ")
            headers = await count_rest(call, app, asking.claims, prod=True)
            return Visit(app=app, realm=None, author=author_of(asking), headers=headers)
        case "public" if writes:
            asking = await holder(call, app)
            require(asking.claims, "ACCESS_DB", "GLOBAL_WRITE")
            headers = await count_rest(call, app, asking.claims, prod=True)
            return Visit(app=app, realm=PUBLIC_REALM, author=author_of(asking), headers=headers)
        case "public":
            reader = await holder_if_any(call, app)
            claims = None if reader is None else reader.claims
            headers = await count_rest(call, app, claims, prod=_is_prod(reader))
            return Visit(app=app, realm=PUBLIC_REALM, author=None, headers=headers)
        case "my":
            asking = await holder(call, app)
            require(asking.claims, "ACCESS_DB")
            user = _person(asking)
            headers = await count_rest(call, app, asking.claims, prod=user.type == "prod")
            _check_license(user, call.gateway.clock(), writes=writes)
            return Visit(app=app, realm=realms.of_user(user), author=author_of(asking), headers=headers)
        case other:
            assert_never(other)


def author_of(asking: Holder) -> Author:
    """Who writes by this token."""
    claims, user = asking.claims, asking.user
    return Author(
        uid=None if user is None else user.uid,
        user_id=claims.sub,
        session_id=claims.sid,
        client_id=claims.client_id,
        may_write_public="GLOBAL_WRITE" in claims.scopes,
    )


async def find_realms(db: Database, app: App, realm_ids: set[str]) -> dict[str, Realm]:
    """The realms that are called so. Raises NotFound and NotBuilt for the first that there is not."""
    found = await known_realms(db, app, realm_ids)
    for realm_id in realm_ids:
        if realm_id not in found:
            raise no_such_realm(realm_id)
    return found


async def known_realms(db: Database, app: App, realm_ids: set[str]) -> dict[str, Realm]:
    """The realms that are called so; those that are not there are absent."""
    known = {each: each if each == PUBLIC else user_id_as_known(app, each) for each in realm_ids}
    found = await db.read(partial(realms.by_id, app_id=app.app_id, realm_ids=set(known.values())))
    return {given: found[name] for given, name in known.items() if name in found}


def no_such_realm(realm_id: str) -> NotBuilt | NotFound:
    """For a realm that is nobody's."""
    if realm_id.startswith("rlm"):
        return NotBuilt(
            "This server has the realm of each person, whose name is the userId, and rlm-public.",
            code="realms_not_built",
        )
    return NotFound(
        "There is no such realm. A person's realm is called by their userId, the one of all rlm-public.",
        code="realm_not_found",
    )


def not_your_realm() -> Forbidden:
    """For a realm that this door does not lead to."""
    return Forbidden(
        "This address does not lead to that realm. Programs reach all of them by /all.",
        code="realm_not_reached",
    )


def _person(asking: Holder) -> User:
    if asking.user is None:
        if asking.is_welcome:
            raise Forbidden(
                "This token is a program's. /my needs one of a person: ask /token with claims.",
                code="not_a_person",
            )
        raise Refused("This user does not exist any more.", code="user_not_found")
    return asking.user


def _check_license(user: User, now: int, *, writes: bool) -> None:
    """Whose license has expired may still read what is theirs."""
    match license_of(user, now):
        case "deactivated":
            raise Refused("This user is deactivated.", code="license_deactivated")
        case "expired" if writes:
            raise Refused("The license of this user has expired.", code="license_expired")


def _is_prod(reader: Holder | None) -> bool:
    if reader is None:
        return False
    return _is_program(reader.claims) or (reader.user is not None and reader.user.type == "prod")


def _is_program(claims: AccessClaims) -> bool:
    return claims.sub == claims.client_id
