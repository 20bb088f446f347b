"""/api/apps/{app}/users/{user}/identities: by which accounts at providers somebody is known."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from admit.accounts import identities, users
from admit.accounts.apps import App
from admit.accounts.users import User
from admit.errors import NotFound
from admit.storage.transaction import Transaction
from admit.web.admin_types import Text
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app


class IdentityQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One identity, as the list tells it."""

    issuer: Text
    subject: Annotated[str, msgspec.Meta(max_length=4_000)]


class IdentityView(msgspec.Struct, frozen=True, kw_only=True):
    """What leads to a person, since `linked_at`. Without `unlinkable` it only says the userId once more."""

    issuer: str
    subject: str
    linked_at: int
    unlinkable: bool


class IdentitiesView(msgspec.Struct, frozen=True, kw_only=True):
    """What leads to a person, in the order in which it came."""

    identities: list[IdentityView]


async def list_identities(call: Call) -> Response:
    """By what a person is known."""
    app, user_id = await permitted_app(call), call.param("user_id")

    def find(tx: Transaction) -> list[identities.Identity]:
        return identities.of_user(tx, app.app_id, _user(tx, app, user_id).uid)

    found = await call.gateway.db.read(find)
    return call.answer(IdentitiesView(identities=[_view(each) for each in found]))


async def unlink_identity(call: Call) -> Response:
    """Takes an identity from a person. Sessions go on."""
    app, user_id, query = await permitted_app(call), call.param("user_id"), call.query(IdentityQuery)
    now = call.gateway.clock()

    def unlink(tx: Transaction) -> bool:
        uid = _user(tx, app, user_id).uid
        return identities.unlink(tx, app.app_id, uid, query.issuer, query.subject, now)

    if not await call.gateway.db.write(unlink):
        raise NotFound("No such identity leads to this user.", code="identity_not_found")
    return call.done()


def _user(tx: Transaction, app: App, user_id: str) -> User:
    key = app.app_id, user_id
    user = users.by_user_id(tx, [key]).get(key)
    if user is None:
        raise NotFound("There is no such user in this app.", code="user_not_found")
    return user


def _view(identity: identities.Identity) -> IdentityView:
    return IdentityView(
        issuer=identity.issuer,
        subject=identity.subject,
        linked_at=identity.created_at,
        unlinkable=identity.of_provider,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/users/{user_id}/identities",
        list_identities,
        "Lists by which accounts at providers a person is known",
        "users:read",
        answer=IdentitiesView,
        codes=("user_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/users/{user_id}/identities",
        unlink_identity,
        "Unlinks an account at a provider from a person; their sessions go on",
        "users:write",
        query=IdentityQuery,
        codes=("user_not_found", "identity_not_found", "identity_of_user_id"),
    ),
)
