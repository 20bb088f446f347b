"""Answers of the admin API about people as pages and commands read them, where they are written otherwise."""

import msgspec

from admit.accounts.people_files import PersonLine
from admit.clock import iso_date
from admit.web.admin_types import UserPage, UserView


class Person(UserView, frozen=True, kw_only=True):
    """A user whose `data` is kept as the text that came, `null` too: msgspec reads no union with raw text."""

    data: msgspec.Raw


class People(UserPage, frozen=True, kw_only=True):
    """A page of them."""

    users: list[Person]  # type: ignore[assignment]


def line_of(person: Person) -> PersonLine:
    """What an export says of a person."""
    return PersonLine(
        user_id=person.user_id,
        type=person.type,
        valid_until=_date(person.valid_until),
        eval_days_left=person.eval_days_left,
        deactivated=_date(person.deactivated_at),
        data=person.data,
        email=person.email,
        name=person.name,
        created=iso_date(person.created_at),
        updated=iso_date(person.updated_at),
        last_login=_date(person.last_login_at),
        max_allowed_eval_days_left=person.eval_days_max,
    )


def _date(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_date(at_ms)
