"""Who writes: a person by one of their sessions, or a program of the app."""

import msgspec


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who has written something. `uid` None: a program that writes for nobody in particular.

    `session_id`: by which session of theirs; `client_id`: the API client that wrote, also in somebody's name.
    """

    uid: str | None
    user_id: str
    session_id: str | None = None
    client_id: str | None = None
    may_write_public: bool = False
