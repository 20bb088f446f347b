"""For the operator's own tests: contexts of tasks, a clock, and an app in memory. No part of the server.

from admit import testing
from tasks.notes.door import may_they_come_in

def test_colleagues_come_in() -> None:
    assert may_they_come_in(testing.decision("ada@example.com")).type == "prod"
"""

from admit.testing.apps import App
from admit.testing.clocks import Clock
from admit.testing.contexts import answer, call, decision, event, request, schedule
from admit.testing.outside import Http, Sent
from admit.testing.residents import device, session, user

__all__ = [
    "App",
    "Clock",
    "Http",
    "Sent",
    "answer",
    "call",
    "decision",
    "device",
    "event",
    "request",
    "schedule",
    "session",
    "user",
]
