"""What a form was shown with, so that nobody writes over what somebody else has saved meanwhile. Pure."""

import hashlib

import msgspec

from admit.errors import Conflict
from admit.web.manager.forms import Form

FIELD = "seen"


def mark(shown: object) -> str:
    """Stands for the values that a form shows; each of its forms carries it in FIELD."""
    return hashlib.sha256(msgspec.json.encode(shown, order="sorted")).hexdigest()[:32]


def refuse_stale(form: Form, now: object) -> None:
    """Raises Conflict where the form was shown with other values than those of `now`."""
    if form.text(FIELD) not in ("", mark(now)):
        raise Conflict(
            "Somebody else has saved other settings meanwhile. What you typed is still here: look at the "
            "present ones on a fresh page, or save again to put yours in their place."
        )
