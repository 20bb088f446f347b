"""Reading what a decision task has returned: what it may say, and every way to say something else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.enrollment.policy import Admit, Fault, Refuse
from admit.enrollment.task_reply import RESULT_BYTES_MAX, read_result


def read(**members: Any) -> Admit | Refuse | Fault:
    return read_result(json.dumps(members).encode(), "decide")


def refusal(**members: Any) -> dict[str, Any]:
    return {"decision": "refuse", "code": "NOT_ON_THE_LIST", "message": "You are not on the list."} | members


def test_an_admitted_person_gets_type_data_and_name() -> None:
    data = {"plan": {"seats": 3}, "displayName": "not this"}
    assert read(decision="admit", type="prod", data=data, name="Ada\tExample") == Admit(
        type="prod", reason="The task decide answered prod.", data=data, name="Ada Example"
    )
    assert read(decision="admit", type="eval", data=None, name="") == Admit(
        type="eval", reason="The task decide answered eval."
    )


def test_a_refusal_has_the_words_of_the_operator() -> None:
    assert read(**refusal(reason="no row\nin the CRM")) == Refuse(
        code="NOT_ON_THE_LIST", message="You are not on the list.", reason="no row in the CRM"
    )
    assert read(**refusal()) == Refuse(
        code="NOT_ON_THE_LIST", message="You are not on the list.", reason="The task decide refused."
    )


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (b"", "is not JSON"),
        (b"\xff", "not UTF-8"),
        (b"null", "is no decision; return task.admit"),
        (b"[]", "is no decision"),
        (b'"admit"', "is no decision"),
        (b"{}", "is no decision"),
        (b'{"decision":"admit","decision":"refuse"}', "names a member twice"),
        (b'{"decision":"admit"}', '"type" that is neither'),
        (b'{"decision":"admit","type":"demo"}', '"type" that is neither'),
        (b'{"decision":"admit","type":["prod"]}', '"type" that is neither'),
        (b'{"decision":"admit","type":"prod","data":[]}', '"data" that is not an object'),
        (b'{"decision":"admit","type":"prod","data":{"a":NaN}}', "holds NaN"),
        (b'{"decision":"admit","type":"prod","data":{"a":"\\ud800"}}', "half of a surrogate pair"),
        (b'{"decision":"admit","type":"prod","name":"\\ud800"}', "half of a surrogate pair"),
        (b'{"decision":"admit","type":"prod","name":7}', '"name" that is not a text'),
        (
            b'{"decision":"admit","type":"prod","pad":"' + b"x" * RESULT_BYTES_MAX + b'"}',
            "returned more than",
        ),
        (b"[" * 60_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_trusted_is_a_fault_that_names_itself(result: bytes, says: str) -> None:
    outcome = read_result(result, "decide")
    assert isinstance(outcome, Fault)
    assert says in outcome.reason
    assert "decide" in outcome.reason


@pytest.mark.parametrize("code", ["", "lower", "1ST", "A" * 65, "A B", "A\n", "Ä", None, 7])
def test_a_code_is_one_that_programs_can_compare(code: Any) -> None:
    assert isinstance(read(**refusal(code=code)), Fault)


@pytest.mark.parametrize(
    "message", ["", "x" * 301, "two\nlines", "a {code}", "ä", "\x1b[2J", "\x7f", None, 7]
)
def test_a_message_is_one_line_that_every_client_shows_as_it_is(message: Any) -> None:
    assert isinstance(read(**refusal(message=message)), Fault)
    assert isinstance(read(**refusal(message="~ Ask at +1 (2) for 'help'? | !")), Refuse)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda kids: st.dictionaries(
    st.sampled_from(["decision", "type", "data", "name", "code", "message"]) | st.text(), kids, max_size=5
)))  # fmt: skip
def test_nothing_that_is_returned_breaks_the_reader(result: Any) -> None:
    assert isinstance(read_result(json.dumps(result).encode(), "decide"), Admit | Refuse | Fault)
