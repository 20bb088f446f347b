"""For the operator's own Python: what a file of tasks imports. No part of the server, which imports it.

from admit import task

@task.decides
def may_they_come_in(context: task.DecisionContext) -> task.Verdict:
    if context.email.endswith("@example.com"):
        return task.admit("prod")
    return task.refuse("NOT_INVITED", "Please ask for an invitation.")
"""

from admit.task.access import Authenticate, Bearer, anybody, bearer, signed_in
from admit.task.contexts import (
    CallContext,
    Context,
    DecisionContext,
    EventContext,
    RequestContext,
    ScheduleContext,
)
from admit.task.decorators import called, decides, every, http, on
from admit.task.event_parts import (
    DecidedAs,
    Device,
    Endpoint,
    EventType,
    Identity,
    Person,
    Session,
    SignIn,
)
from admit.task.fetching import HttpError, Reply
from admit.task.payloads import AskedDevice, Caller, SignedIn
from admit.task.people import KnownDevice, KnownSession, User
from admit.task.responses import BadRequest, Response, response
from admit.task.stage import NotAnswered
from admit.task.synced import Table, TableObject
from admit.task.verdicts import Admitted, Refused, Verdict, admit, refuse

__all__ = [
    "Admitted",
    "AskedDevice",
    "Authenticate",
    "BadRequest",
    "Bearer",
    "CallContext",
    "Caller",
    "Context",
    "DecidedAs",
    "DecisionContext",
    "Device",
    "Endpoint",
    "EventContext",
    "EventType",
    "HttpError",
    "Identity",
    "KnownDevice",
    "KnownSession",
    "NotAnswered",
    "Person",
    "Refused",
    "Reply",
    "RequestContext",
    "Response",
    "ScheduleContext",
    "Session",
    "SignIn",
    "SignedIn",
    "Table",
    "TableObject",
    "User",
    "Verdict",
    "admit",
    "anybody",
    "bearer",
    "called",
    "decides",
    "every",
    "http",
    "on",
    "refuse",
    "response",
    "signed_in",
]
