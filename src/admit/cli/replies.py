"""Answers of the admin API as commands read them, where that differs from how they are written."""

import msgspec

from admit.web.admin_types import UserPage, UserView


class Person(UserView, frozen=True, kw_only=True):
    """A user whose `data` is kept as the text that came, `null` too: msgspec reads no union with raw text."""

    data: msgspec.Raw


class People(UserPage, frozen=True, kw_only=True):
    """A page of them."""

    users: list[Person]  # type: ignore[assignment]
