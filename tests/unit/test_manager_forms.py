"""What the Manager reads of forms and toasts."""

import pytest
from starlette.datastructures import Headers

from admit.errors import InvalidRequest
from admit.storage.sealing import KeyRing
from admit.web.manager import toasts
from admit.web.manager.forms import read_form
from admit.web.manager.toasts import Toast, Undo

ENCODED = Headers({"content-type": "application/x-www-form-urlencoded"})
RING = KeyRing.parse("the-secret-key-of-manager-forms-0123456789")


async def test_fields_are_read_as_they_were_typed() -> None:
    form = await read_form(ENCODED, b"name=+Ada+&note=a%0D%0Ab&box=on&type=x&type=y&empty=")
    assert form.text("name") == "Ada"
    assert form.verbatim("note") == "a\nb"
    assert form.flag("box")
    assert not form.flag("other")
    assert form.many("type") == ["x", "y"]
    assert form.optional("empty") is None
    assert form.text("missing") == ""


@pytest.mark.parametrize(("typed", "read"), [("30", 30), ("1,000", 1_000), ("-2", -2), ("", None)])
async def test_numbers(typed: str, read: int | None) -> None:
    form = await read_form(ENCODED, f"days={typed}".encode())
    assert form.integer("days", "Days") == read


@pytest.mark.parametrize("typed", ["3.5", "many", "1e3", "--1", "9999999999999999", "%D9%A3"])
async def test_what_is_no_number_is_named(typed: str) -> None:
    form = await read_form(ENCODED, f"days={typed}".encode())
    with pytest.raises(InvalidRequest, match=r"^Days: write a whole number"):
        form.integer("days", "Days")


@pytest.mark.parametrize(
    "body", [b"a=%00", b"a=%FF", "a=ä".encode(), b"&".join(b"a=b" for _ in range(1_001))]
)
async def test_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read_form(ENCODED, body)


async def test_body_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="A form is sent as"):
        await read_form(Headers({"content-type": "application/json"}), b"{}")


async def test_file_comes_with_its_fields() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\nabc\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n'
        b"user_id\na\n\r\n--x--\r\n"
    )
    form = await read_form(Headers({"content-type": "multipart/form-data; boundary=x"}), body)
    assert form.text("csrf") == "abc"
    assert form.file("file") == b"user_id\na\n"
    assert form.file("other") is None


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=y"])
async def test_multipart_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequest):
        await read_form(Headers({"content-type": kind}), b"--x\r\nnothing")


def test_toast_is_read_as_it_was_written() -> None:
    toast = Toast("Work laptop is locked.", Undo("/apps/notes/unlock", {"session": "ses_1"}))
    assert toasts.read(RING, "ops_1", toasts.written(RING, "ops_1", toast)) == toast


def test_toast_is_not_read_in_another_session() -> None:
    value = toasts.written(RING, "ops_1", Toast("Ada is locked.", Undo("/apps/notes/unlock")))
    assert toasts.read(RING, "ops_2", value) is None


@pytest.mark.parametrize(
    "change", [lambda v: "x" + v, lambda v: v[:-2] + "AA", lambda v: "", lambda v: "é.é"]
)
def test_toast_that_is_not_ours_is_no_toast(change: object) -> None:
    value = toasts.written(RING, "ops_1", Toast("Deleted."))
    assert callable(change)
    assert toasts.read(RING, "ops_1", change(value)) is None
