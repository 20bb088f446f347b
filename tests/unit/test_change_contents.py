"""What the list of changes keeps of bodies and answers."""

from typing import Any

import msgspec
import pytest

from admit.storage.sealing import KeyRing
from admit.web.admin_mail_api import NewMailServer
from admit.web.admin_types import ClientSecret, UserImport, UserView
from admit.web.change_contents import BYTES_MAX, asked, kept
from admit.web.endpoint_types import NewEndpoint

RING = KeyRing((b"0123456789abcdef0123456789abcdef",))


def of(value: Any, kind: Any, *, about_people: bool = False) -> Any:
    text = asked(msgspec.json.encode(value), kind, RING, about_people=about_people)
    return msgspec.json.decode(text) if text else None


def test_secret_is_replaced_and_its_absence_shown() -> None:
    server = {"url": "smtp://a:hunter2@mail.example.com", "sender": "n@example.com"}
    assert of(server, NewMailServer) == server | {"url": "(secret)"}
    given = {"url": "https://a.example", "secret": None, "headers": {"Authorization": "Bearer hunter2"}}
    assert of(given, NewEndpoint) == {
        "url": "https://a.example",
        "secret": None,
        "headers": {"Authorization": "(secret)"},
    }


def test_answer_with_a_secret_is_kept_without_it() -> None:
    answer = {"client_id": "cli_1", "client_secret": "hunter2", "scopes": ["ACCESS_DB"], "owner": None}
    text = kept(msgspec.json.encode(answer), ClientSecret, RING, about_people=False)
    assert msgspec.json.decode(text) == answer | {"client_secret": "(secret)"}


@pytest.mark.parametrize("raw", [b"{", b'{"secret": 1}', b'{"elsewhere": "hunter2"}', b"\xff", b"[" * 5_000])
def test_what_cannot_be_read_is_left_out_whole(raw: bytes) -> None:
    text = asked(raw, NewEndpoint, RING, about_people=False)
    assert set(msgspec.json.decode(text)) == {"(left out)"}
    assert "hunter2" not in text


def test_nothing_is_kept_of_nothing() -> None:
    assert asked(b"", NewEndpoint, RING, about_people=False) == ""
    assert kept(b"", None, RING, about_people=False) == ""


def test_of_people_ids_states_and_digests_are_kept() -> None:
    given = {"users": [{"userId": "ada", "type": "prod", "data": {"type": "Lovelace"}}], "dry_run": True}
    first = of(given, UserImport, about_people=True)
    assert first["dry_run"] is True
    (person,) = first["users"]
    assert (person["userId"], person["type"]) == ("ada", "prod")
    assert person["data"].startswith("(left out ")
    other = of({"users": [given["users"][0] | {"data": 1}]}, UserImport, about_people=True)  # type: ignore[index]
    assert other["users"][0]["data"] != person["data"]


def test_body_of_any_shape_about_people_is_a_digest() -> None:
    assert of({"type": "prod", "name": "Ada"}, dict, about_people=True).startswith("(left out ")


def test_name_of_a_person_is_not_kept() -> None:
    answer = {"user_id": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "data": {"a": "Ada"}}
    text = kept(msgspec.json.encode(answer), UserView, RING, about_people=True)
    assert "Ada" not in text
    assert "example.com" not in text
    assert msgspec.json.decode(text)["user_id"] == "ada"


def test_what_is_long_is_kept_as_size_and_digest() -> None:
    value = of({"users": [{"userId": "u" * 100}] * (BYTES_MAX // 100)}, UserImport)
    assert value["(left out)"]["bytes"] > BYTES_MAX
    assert len(value["(left out)"]["digest"]) == 64
