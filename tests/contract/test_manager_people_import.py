"""The page that imports people: what it shows before, portion by portion, with and without scripts."""

import io
from typing import Any

import aiohttp
import msgspec
import pytest

from admit.web.manager import people_import
from tests.contract.manager_pages import Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_admin_api import api

IMPORT = "/apps/notes/people-import"
FILE = """userId,type,data
known@example.com,prod,
new@example.com,eval,"{""displayName"":
""New Comer""}"
wrong@example.com,king,
same@example.com,prod,
"""


async def people(served: Served) -> dict[str, Any]:
    found = (await api(served, "GET", "apps/notes/users?limit=1000")).json["users"]
    return {each["user_id"]: each for each in found}


async def known(served: Served) -> None:
    app = await served.app()
    await served.write(
        app, {"userId": "known@example.com", "type": "eval"}, {"userId": "same@example.com", "type": "prod"}
    )


async def upload(operator: Operator, content: bytes, name: str = "people.csv") -> Shown:
    """What follows when a file is chosen."""
    form = (await operator.get(IMPORT)).form("/people-import")
    fields = aiohttp.FormData({"csrf": form.fields["csrf"], "text": ""})
    fields.add_field("file", io.BytesIO(content), filename=name, content_type="text/csv")
    return await operator.send(form.action, fields)


async def portion(operator: Operator, path: str, content: bytes, **fields: str) -> tuple[int, Any]:
    csrf = (await operator.get(IMPORT)).form("/people-import").fields["csrf"]
    form = aiohttp.FormData({"csrf": csrf, **fields})
    form.add_field("file", io.BytesIO(content), filename="people.csv")
    answer = await operator.send(f"/manager{path}/portion", form)
    return answer.status, msgspec.json.decode(answer.html) if answer.status == 200 else answer.text


async def test_a_file_is_shown_before_anything_happens_and_then_imported(served: Served) -> None:
    await known(served)
    async with signed_in(served) as operator:
        preview = await upload(operator, FILE.encode())
        assert preview.status == 200
        for said in (
            "of all 4 entries",
            "Would be created 1",
            "Would be changed 1",
            "Stay as they are 1",
            "Would be left out 1",
            "The type of a user is eval or prod, not 'king'.",
        ):
            assert said in preview.text, said
        assert (await people(served))["known@example.com"]["type"] == "eval", "nothing has happened"

        done = await operator.post(preview.form("/people-import/run"))
    assert "Everything is in, up to line 6." in done.text
    assert "Created 1" in done.text
    assert "Line 5: The type of a user is eval or prod" in done.text
    found = await people(served)
    assert found["known@example.com"]["type"] == "prod"
    assert found["new@example.com"]["name"] == "New Comer"
    assert "wrong@example.com" not in found


async def test_pasted_lines_are_read_too(served: Served) -> None:
    await known(served)
    async with signed_in(served) as operator:
        form = (await operator.get(IMPORT)).form("/people-import")
        preview = await operator.post(form, text='{"userId":"new@example.com","type":"prod"}\n')
        assert "of all 1 entry" in preview.text
        await operator.post(preview.form("/people-import/run"))
    assert (await people(served))["new@example.com"]["type"] == "prod"


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 400, "Choose a file, or paste its lines."),
        (b"name,type\nAda,prod\n", 400, "The first line of a CSV names its columns: userId, type"),
        (b"userId,colour\na@b.c,red\n", 400, "There is no column 'colour'."),
        ("userId,type\n".encode("utf-16"), 400, "The file is UTF-16. Save it as UTF-8."),
        (
            b"userId,type\n" + b"a" * people_import.WHOLE_BYTES_MAX,
            413,
            "Without scripts a file has at most 2 MB",
        ),
    ],
)
async def test_what_cannot_be_read_is_said_and_changes_nothing(
    served: Served, content: bytes, status: int, sentence: str
) -> None:
    await known(served)
    async with signed_in(served) as operator:
        page = await upload(operator, content)
    assert page.status == status
    assert "This cannot be read" in page.text
    assert sentence in page.text
    assert len(await people(served)) == 2


async def test_without_scripts_an_import_goes_on_with_each_press(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_import, "PORTION", 3)
    monkeypatch.setattr(people_import, "PORTIONS_A_PRESS", 2)
    await served.app()
    lines = "".join(f"p{number}@example.com,prod\n" for number in range(8))
    async with signed_in(served) as operator:
        preview = await upload(operator, f"userId,type\n{lines}".encode())
        assert "of the first 3 entries" in preview.text
        half = await operator.post(preview.form("/people-import/run"))
        assert "Imported so far" in half.text
        assert "Up to line 7." in half.text
        assert len(await people(served)) == 6
        done = await operator.post(half.form("/people-import/run"))
    assert "Everything is in, up to line 9." in done.text
    assert "Created 8" in done.text
    assert len(await people(served)) == 8


async def test_portions_that_a_script_cuts_anywhere_come_together(served: Served) -> None:
    """The script cuts by bytes; what is half is left to the next portion."""
    await served.app()
    head = b"userId,type,data\r\n"
    rows = b"".join(
        b'p%d@example.com,prod,"{""displayName"":\n""A B \xc3\x85""}"\r\n' % number for number in range(30)
    )
    async with signed_in(served) as operator:
        offset, line, created, rounds = 0, 1, 0, 0
        while offset < len(rows):
            cut = rows[offset : offset + 151]
            last = {"last": "on"} if offset + 151 >= len(rows) else {}
            status, told = await portion(
                operator, IMPORT, head + cut, format="csv", head=str(len(head)), line=str(line), **last
            )
            assert (status, told["refused"]) == (200, 0), told
            assert told["offset"] > 0
            offset, line, created, rounds = (
                offset + told["offset"],
                told["line"],
                created + told["created"],
                rounds + 1,
            )
    assert (created, line, offset) == (30, 61, len(rows))
    assert rounds > 8
    assert {each["name"] for each in (await people(served)).values()} == {"A B Å"}


async def test_a_portion_tells_lines_of_the_whole_file(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        content = b"userId,type\na@example.com,prod\nb@example.com,king\nc@example.com,1,2\n"
        _, told = await portion(operator, IMPORT, content, format="csv", head="12", line="1001", last="on")
        assert [each["line"] for each in told["errors"]] == [1_003, 1_004]
        assert (told["created"], told["refused"], told["line"]) == (1, 2, 1_004)
        status, said = await portion(operator, IMPORT, content, format="xml", line="0")
        assert (status, "csv or jsonl" in said) == (400, True)


async def test_who_may_not_change_people_may_not_import_them(served: Served) -> None:
    await known(served)
    async with signed_in(served, "read-only") as operator:
        assert "Import" not in (await operator.get("/apps/notes/people")).links
        assert (await upload(operator, FILE.encode())).status == 403
        status, _ = await portion(
            operator, IMPORT, FILE.encode(), format="csv", head="17", line="1", last="on"
        )
        assert status == 403
    assert len(await people(served)) == 2
