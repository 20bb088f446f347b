"""/api/operators: who runs the house. In paths, an operator is named by their id or their email."""

import msgspec
from starlette.responses import Response

from admit.errors import InvalidRequest, NotFound
from admit.operators import links, people, sessions, sessions_ended
from admit.operators.links import NewLink
from admit.operators.people import Change, Operator
from admit.signin.email_addresses import normalise_email
from admit.storage.transaction import Transaction
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted
from admit.web.operator_links import address_of
from admit.web.operator_types import (
    NewOperator,
    NewRole,
    OperatorLink,
    OperatorSessionsQuery,
    OperatorSessionView,
    OperatorView,
    SessionsEnded,
)


async def list_operators(call: Call) -> Response:
    """All operators, also invited and deactivated ones, by their email."""
    await permitted(call)
    return call.answer([_view(each) for each in await call.gateway.db.read(people.list_operators)])


async def invite_operator(call: Call) -> Response:
    """Adds an operator and makes the link by which they come in. They are told by whoever invites."""
    await permitted(call)
    body, gateway, now = await call.json(NewOperator), call.gateway, call.gateway.clock()
    email = normalise_email(body.email)

    def unit(tx: Transaction) -> tuple[Operator, NewLink]:
        added = people.add(tx, email, body.role, now)
        return added, links.for_operator(tx, gateway.ring, added, now)

    return _link_answer(call, *await gateway.db.write(unit))


async def link_operator(call: Call) -> Response:
    """Makes a new link for an operator who is invited or locked out; former links open no more.

    When it is used, sessions of before end; passkeys stay.
    """
    await permitted(call)
    key, gateway, now = _key(call), call.gateway, call.gateway.clock()

    def unit(tx: Transaction) -> tuple[Operator, NewLink]:
        operator = people.get(tx, key)
        return operator, links.for_operator(tx, gateway.ring, operator, now)

    return _link_answer(call, *await gateway.db.write(unit))


async def set_role(call: Call) -> Response:
    """Gives an operator another role, and ends their sessions."""
    await permitted(call)
    key, body = _key(call), await call.json(NewRole)
    return await _answer(call, lambda tx: people.set_role(tx, key, body.role))


async def deactivate_operator(call: Call) -> Response:
    """Lets an operator in no more; their sessions and links end at once."""
    await permitted(call)
    key, now = _key(call), call.gateway.clock()
    return await _answer(call, lambda tx: people.deactivate(tx, key, now))


async def reactivate_operator(call: Call) -> Response:
    """Lets an operator in again, with the passkeys and the password of before."""
    await permitted(call)
    key = _key(call)
    return await _answer(call, lambda tx: people.reactivate(tx, key))


async def list_sessions(call: Call) -> Response:
    """Where operators are signed in: the sessions that were seen last come first."""
    await permitted(call)
    asked, now = call.query(OperatorSessionsQuery), call.gateway.clock()
    key = None if asked.operator is None else _normalised(asked.operator)

    def query(tx: Transaction) -> list[sessions.Session]:
        operator_id = None if key is None else people.get(tx, key).operator_id
        return sessions.list_sessions(tx, now, operator_id)

    listed = await call.gateway.db.read(query)
    return call.answer([OperatorSessionView(**msgspec.structs.asdict(each)) for each in listed])


async def end_session(call: Call) -> Response:
    """Signs an operator out in one browser, at once."""
    await permitted(call)
    session_id = call.param("session_id")
    if not await call.gateway.db.write(lambda tx: sessions.end_session(tx, session_id)):
        raise NotFound("There is no such session, or it has ended.", code="session_not_found")
    return call.done()


async def end_sessions(call: Call) -> Response:
    """Signs an operator out everywhere, at once."""
    await permitted(call)
    key = _key(call)
    ended = await call.gateway.db.write(
        lambda tx: sessions_ended.end_all(tx, people.get(tx, key).operator_id)
    )
    return call.answer(SessionsEnded(ended=ended))


async def _answer(call: Call, unit: Change) -> Response:
    return call.answer(_view(await call.gateway.db.write(unit)))


def _link_answer(call: Call, operator: Operator, link: NewLink) -> Response:
    address = address_of(call.gateway.settings, link.token)
    return call.answer(OperatorLink(operator=_view(operator), link=address, expires_at=link.expires_at))


def _key(call: Call) -> str:
    return _normalised(call.param("operator"))


def _normalised(key: str) -> str:
    """An id as it is, an email in its one spelling."""
    if "@" not in key:
        return key
    try:
        return normalise_email(key)
    except InvalidRequest:
        return key


def _view(operator: Operator) -> OperatorView:
    return OperatorView(**msgspec.structs.asdict(operator))


_KNOWN = ("operator_not_found",)

OPERATIONS = (
    admin(
        "GET", "/operators", list_operators, "Lists operators", "operators:read", answer=list[OperatorView]
    ),
    admin(
        "POST",
        "/operators",
        invite_operator,
        "Invites an operator",
        "operators:write",
        body=NewOperator,
        answer=OperatorLink,
        codes=("operator_exists", "too_many_operators"),
        shows_secret=True,
    ),
    admin(
        "POST",
        "/operators/{operator}/link",
        link_operator,
        "Makes a one-time link for an operator",
        "operators:write",
        answer=OperatorLink,
        codes=(*_KNOWN, "operator_deactivated"),
        shows_secret=True,
    ),
    admin(
        "PUT",
        "/operators/{operator}/role",
        set_role,
        "Gives an operator a role",
        "operators:write",
        body=NewRole,
        answer=OperatorView,
        codes=(*_KNOWN, "last_owner"),
    ),
    admin(
        "POST",
        "/operators/{operator}/deactivation",
        deactivate_operator,
        "Deactivates an operator",
        "operators:write",
        answer=OperatorView,
        codes=(*_KNOWN, "last_owner"),
    ),
    admin(
        "DELETE",
        "/operators/{operator}/deactivation",
        reactivate_operator,
        "Lets an operator in again",
        "operators:write",
        answer=OperatorView,
        codes=_KNOWN,
    ),
    admin(
        "DELETE",
        "/operators/{operator}/sessions",
        end_sessions,
        "Signs an operator out everywhere",
        "operators:write",
        answer=SessionsEnded,
        codes=_KNOWN,
    ),
    admin(
        "GET",
        "/operator-sessions",
        list_sessions,
        "Lists the sessions of operators",
        "operators:read",
        query=OperatorSessionsQuery,
        answer=list[OperatorSessionView],
        codes=_KNOWN,
    ),
    admin(
        "DELETE",
        "/operator-sessions/{session_id}",
        end_session,
        "Ends a session of an operator",
        "operators:write",
        codes=("session_not_found",),
    ),
)
