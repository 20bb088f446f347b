"""admit operator: who runs the house, by every way of reaching the database."""

import itertools

import pytest

from tests.contract.command_line import CommandLine

_numbers = itertools.count(1)


@pytest.fixture
def bob(admit: CommandLine) -> str:
    """The email of somebody who was invited."""
    email = f"bob{next(_numbers)}@example.com"
    admit.done("operator", "invite", email, "--role", "support")
    return email


def told(admit: CommandLine, email: str) -> dict[str, object]:
    """What the list says of somebody."""
    listed = admit.json("operator", "list")
    found: dict[str, object] = next(each for each in listed if each["email"] == email)
    return found


def test_invited_operator_is_listed(admit: CommandLine, bob: str) -> None:
    assert told(admit, bob)["role"] == "support"
    lines = admit.done("operator", "list").splitlines()
    assert any(line.startswith(bob) and "\tinvited\t" in line for line in lines)


def test_invitation_and_link_are_told_once_and_differ(admit: CommandLine) -> None:
    email = f"eve{next(_numbers)}@example.com"
    made = admit.json("operator", "invite", email, "--role", "admin")
    again = admit.json("operator", "link", email)
    assert made["link"] != again["link"]
    for each in (made, again):
        assert "/manager/set-up/" in each["link"]
    assert made["link"].rpartition("/")[2] not in admit.done("operator", "list", "--json")


def test_email_is_found_in_every_spelling(admit: CommandLine, bob: str) -> None:
    assert admit.json("operator", "link", bob.upper())["operator"]["email"] == bob
    operator_id = told(admit, bob)["operator_id"]
    assert admit.json("operator", "role", str(operator_id), "--role", "admin")["role"] == "admin"


def test_role_changes(admit: CommandLine, bob: str) -> None:
    assert admit.done("operator", "role", bob, "--role", "read-only") == f"{bob} is read-only.\n"
    assert told(admit, bob)["role"] == "read-only"


def test_deactivated_operator_gets_no_link_until_let_in_again(admit: CommandLine, bob: str) -> None:
    admit.done("operator", "deactivate", bob, "--yes")
    assert told(admit, bob)["deactivated_at"] is not None
    assert admit.refused("operator", "link", bob) == (
        f"{bob} is deactivated. First: admit operator reactivate {bob}"
    )
    assert admit.done("operator", "reactivate", bob) == f"{bob} may sign in again.\n"
    admit.done("operator", "link", bob)


def test_sessions_are_listed_and_ended(admit: CommandLine, bob: str) -> None:
    assert admit.json("operator", "sessions", bob) == []
    assert admit.json("operator", "sessions") == []
    assert admit.json("operator", "sign-out", bob, "--yes") == {"ended": 0}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("invite", "bob@example.com", "--role", "chief"),
            "There are the roles owner, admin, support, read-only.",
        ),
        (("invite", "no email", "--role", "admin"), "An email address has exactly one @."),
        (("link", "nobody@example.com"), "There is no such operator. See: admit operator list"),
        (("role", "nobody@example.com", "--role", "admin"), "There is no such operator."),
        (("deactivate", "nobody@example.com", "--yes"), "There is no such operator."),
        (("reactivate", "nobody@example.com"), "There is no such operator."),
        (("sign-out", "nobody@example.com", "--yes"), "There is no such operator."),
        (("sessions", "nobody@example.com"), "There is no such operator."),
    ],
)
def test_what_cannot_be_done_is_said(admit: CommandLine, words: tuple[str, ...], sentence: str) -> None:
    code = 3 if "no such" in sentence else 1
    assert admit.refused("operator", *words, code=code).startswith(sentence)


def test_nobody_is_invited_twice(admit: CommandLine, bob: str) -> None:
    assert admit.refused("operator", "invite", bob, "--role", "owner") == f"{bob} is an operator already."
    assert told(admit, bob)["role"] == "support"
