"""By which ways people come into an app that may have a policy, and seats, of their own."""

from collections.abc import Collection
from typing import Annotated

import msgspec

from admit.accounts.apps import App
from admit.errors import InvalidRequest

EMAIL_CODE = "email_code"
CLIENT_CREDENTIALS = "client_credentials"
ALWAYS = (EMAIL_CODE, CLIENT_CREDENTIALS)
"""Those that every app has."""

WayIn = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


def parse_way_in(app: App, text: str, *, beside: Collection[str] = ()) -> str:
    """Returns `text` where people come into `app` by it, or it is one of `beside`. Raises InvalidRequest."""
    known = dict.fromkeys((*ALWAYS, *app.providers, *beside))
    if text not in known:
        *most, last = known
        raise InvalidRequest(
            f"{text[:80]!r} is no way into {app.name}. Those there are: {', '.join(most)} and {last}."
        )
    return text
