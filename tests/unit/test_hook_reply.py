"""Reading a decision endpoint's answer: what it may say, and every way to say something else."""

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.enrollment.hook_reply import USER_DATA_BYTES_MAX, read_reply
from admit.enrollment.policy import Admit, Fault, Refuse
from admit.errors import USER_NOT_ACCEPTED


def reply(**members: Any) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize("action", ["eval", "prod"])
def test_an_accepted_person_gets_type_data_and_name(action: Literal["eval", "prod"]) -> None:
    data = {"displayName": "Ada Example", "email": "ada@example.com", "plan": {"seats": 3}}
    verdict = read_reply(reply(ok=True, action=action, userData=data))
    assert verdict == Admit(
        type=action,
        reason=f"The endpoint answered {action}.",
        data=data,
        name="Ada Example",
        email="ada@example.com",
    )


def test_user_data_may_be_absent_or_null() -> None:
    for body in (reply(ok=True, action="prod"), reply(ok=True, action="prod", userData=None)):
        verdict = read_reply(body)
        assert isinstance(verdict, Admit)
        assert (verdict.data, verdict.name, verdict.email) == (None, "", "")


@pytest.mark.parametrize("action", ["prod", "eval", "reject", "PROD", None])
def test_ok_false_never_admits(action: str | None) -> None:
    verdict = read_reply(reply(ok=False, action=action, userData={"displayName": "Eve"}))
    assert isinstance(verdict, Refuse)
    assert verdict.code == USER_NOT_ACCEPTED


def test_reject_refuses() -> None:
    assert isinstance(read_reply(reply(ok=True, action="reject")), Refuse)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"<html>Welcome</html>", "not JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[]", "not a JSON object"),
        (b'"prod"', "not a JSON object"),
        (b'{"ok":"true","action":"prod"}', '"ok" is not true or false'),
        (b'{"ok":1,"action":"prod"}', '"ok" is not true or false'),
        (b'{"action":"prod"}', '"ok" is not true or false'),
        (b'{"ok":true}', '"action" is not'),
        (b'{"ok":true,"action":"PROD "}', '"action" is not'),
        (b'{"ok":true,"action":["prod"]}', '"action" is not'),
        (b'{"ok":true,"action":"client"}', '"action" is not'),
        (b'{"ok":true,"action":"reject","action":"prod"}', "names a member twice"),
        (b'{"ok":true,"action":"prod","userData":{"a":1,"a":2}}', "names a member twice"),
        (b'{"ok":true,"action":"prod","userData":[1]}', '"userData" that is not an object'),
        (b'{"ok":true,"action":"prod","userData":{"n":NaN}}', "holds NaN"),
        (b'{"ok":true,"action":"prod","userData":{"n":1e999}}', "beyond all bounds"),
        (b'{"ok":true,"action":"prod","userData":{"t":"\\ud800"}}', "half of a surrogate pair"),
        (b'{"ok":true,"action":"prod","userData":' + b'{"a":' * 40 + b"1" + b"}" * 41, "nested deeper"),
        (b'{"ok":true,"action":"prod","userData":' + b"[" * 9000 + b"]" * 9000 + b"}", "nested too deeply"),
        (b'{"ok":true,"action":"prod","userData":{"n":' + b"9" * 5000 + b"}}", "not JSON"),
    ],
)
def test_what_cannot_be_trusted_is_a_fault_that_names_itself(body: bytes, named: str) -> None:
    verdict = read_reply(body)
    assert isinstance(verdict, Fault)
    assert named in verdict.reason


def test_user_data_has_a_limit_in_bytes() -> None:
    room = USER_DATA_BYTES_MAX - len('{"t":""}')
    assert isinstance(read_reply(reply(ok=True, action="prod", userData={"t": "x" * room})), Admit)
    assert isinstance(read_reply(reply(ok=True, action="prod", userData={"t": "x" * (room + 1)})), Fault)


def test_proto_members_are_dropped_at_any_depth_and_all_else_is_kept() -> None:
    body = b'{"ok":true,"action":"prod","userData":{"__proto__":{"admin":true},"a":[{"__proto__":1,"b":2}]}}'
    verdict = read_reply(body)
    assert isinstance(verdict, Admit)
    assert verdict.data == {"a": [{"b": 2}]}


def test_roles_and_flags_in_user_data_mean_nothing_to_us() -> None:
    data = {"userId": "root@example.com", "emailVerified": True, "type": "prod", "roles": ["admin"]}
    verdict = read_reply(reply(ok=True, action="eval", userData=data))
    assert isinstance(verdict, Admit)
    assert (verdict.type, verdict.name, verdict.email, verdict.data) == ("eval", "", "", data)


def test_a_name_is_one_line_of_visible_text() -> None:
    verdict = read_reply(reply(ok=True, action="prod", userData={"displayName": " Ada\r\nBcc: x\u202e "}))
    assert isinstance(verdict, Admit)
    assert verdict.name == "Ada  Bcc: x"


@given(st.binary(max_size=300))
def test_no_bytes_at_all_can_break_the_reader(body: bytes) -> None:
    assert isinstance(read_reply(body), Admit | Refuse | Fault)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_members = st.sampled_from(["ok", "action", "userData", "displayName", "email", "other"])
_values = _json | st.sampled_from(["prod", "eval", "reject"])


@given(st.dictionaries(_members, _values, max_size=6))
def test_only_a_literal_yes_ever_admits(members: dict[str, Any]) -> None:
    verdict = read_reply(json.dumps(members).encode())
    if isinstance(verdict, Admit):
        assert members["ok"] is True
        assert members["action"] == verdict.type
        assert verdict.type in ("eval", "prod")
