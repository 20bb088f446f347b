"""The pages of data: tables, objects, the data model and its web hooks, and change hooks."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.manager_pages import signed_in
from tests.contract.model_desk import TASKS as MODEL
from tests.contract.served import Served
from tests.contract.test_admin_api import api

ADA = "ada@example.com"
HOOKS = """
[[models.task.webhooks]]
type = "ready"
fields = ["title", "user"]

[[models.task.webhooks]]
type = "update"
receiver = "task"
action = "follow"
"""
WHERE = "apps/notes"


async def ask(served: Served, method: str, path: str, body: object = None, status: int = 200) -> Any:
    answer = await api(served, method, f"{WHERE}/{path}", body)
    assert answer.status == status, answer.body
    return answer.json if answer.body else None


async def put(served: Served, key: str, realm: str = ADA, table: str = "todos", **members: object) -> None:
    await ask(
        served,
        "PUT",
        f"objects/{table}/{quote(key, safe='')}",
        {"value": {"id": key, **members}, "realm_id": realm},
    )


async def prepared(served: Served) -> None:
    """An app in which Ada lives."""
    await served.app()
    await ask(served, "POST", "users", [{"userId": ADA, "type": "prod"}])


async def test_tables_are_listed_with_what_they_hold(served: Served) -> None:
    await prepared(served)
    async with signed_in(served) as operator:
        empty = await operator.get("/apps/notes/data")
        assert "No tables yet" in empty.text
        added = await operator.post(empty.form("/data"), table="notes", generated="on", id_prefix="nts")
        assert "notes is a table." in added.text
        assert added.url.endswith("/data/notes")
        await put(served, "t1")
        await put(served, "t2", "rlm-public")
        page = await operator.get("/apps/notes/data")
        assert "notes 0 id nts… A client, or an operator" in page.text
        assert "todos 2 id No Its objects alone" in page.text
        wrong = await operator.post(page.form("/data"), table="many", primary_key="[a")
        assert (wrong.status, "A primary key is a path" in wrong.text) == (400, True)
        assert wrong.form("/data").fields["primary_key"] == "[a"
        assert (await operator.post(page.form("/data"), table="")).status == 400
    assert {each["name"] for each in await ask(served, "GET", "tables")} == {"notes", "todos"}


async def test_objects_of_a_table_are_filtered_and_paged(served: Served) -> None:
    await prepared(served)
    for number in range(52):
        await put(served, f"t{number:02}", done=number == 51)
    await put(served, "p1", "rlm-public")
    async with signed_in(served) as operator:
        first = await operator.get("/apps/notes/data/todos")
        assert first.html.count('<th scope="row"') == 50
        second = await operator.get(first.links["Next"])
        assert second.html.count('<th scope="row"') == 3
        assert "Next" not in second.links
        public = await operator.get("/apps/notes/data/todos?realm=rlm-public")
        assert public.html.count('<th scope="row"') == 1
        done = await operator.get("/apps/notes/data/todos?where=done%3Dtrue")
        assert list(done.links)[-1] != ""
        assert "t51" in done.links
        assert done.html.count('<th scope="row"') == 1
        assert "--where done=true" in done.text
        nobody = await operator.get("/apps/notes/data/todos?realm=nobody")
        assert (nobody.status, "There is no such realm" in nobody.text) == (400, True)
        wrong = await operator.get("/apps/notes/data/todos?where=done")
        assert (wrong.status, "such as done=true" in wrong.text) == (400, True)
        assert (await operator.get("/apps/notes/data/todos?after=nonsense")).status == 400


async def test_object_is_changed_and_the_undo_puts_the_former_back(served: Served) -> None:
    await prepared(served)
    await put(served, "a/b c?", title="Tea")
    where = "objects/todos/a%2Fb%20c%3F"
    async with signed_in(served) as operator:
        table = await operator.get("/apps/notes/data/todos")
        page = await operator.get(table.links["a/b c?"])
        form = page.form("/data/todos/a%2Fb%20c%3F")
        assert '"title": "Tea"' in form.fields["value"]
        saved = await operator.post(form, value='{"id": "a/b c?", "n": 9007199254740991}')
        assert "a/b c? is saved." in saved.text
        assert (await ask(served, "GET", where))["value"]["n"] == 9007199254740991
        undo = [each for each in saved.forms if "value" in each.fields][-1]
        undone = await operator.post(undo)
        assert undone.status == 200
        value = (await ask(served, "GET", where))["value"]
        assert (value["title"], "n" in value) == ("Tea", False)


async def test_what_is_no_object_is_refused_with_its_line_and_changes_nothing(served: Served) -> None:
    await prepared(served)
    await put(served, "t1", title="Tea")
    before = await ask(served, "GET", "objects/todos/t1")
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/data/todos/t1")).form("/t1")
        for typed, sentence in (
            ('{\n  "id": "t1",\n}', "Line 3, character 1: remove the comma before “}”."),
            ("[]", "Write a JSON object"),
            ('{"id": "t2"}', "key"),
        ):
            refused = await operator.post(form, value=typed)
            assert (refused.status, sentence in refused.text) == (400, True), refused.text
            assert refused.form("/t1").fields["value"] == typed
    assert await ask(served, "GET", "objects/todos/t1") == before


async def test_object_that_somebody_else_has_changed_is_not_written_over_at_once(served: Served) -> None:
    await prepared(served)
    await put(served, "t1", title="Tea")
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/data/todos/t1")).form("/t1")
        await put(served, "t1", title="Coffee")
        told = await operator.post(form, value='{"id": "t1", "title": "Milk"}')
        assert told.status == 409
        assert "Somebody has changed the object since you opened it." in told.text
        assert "Coffee" in told.text
        assert (await ask(served, "GET", "objects/todos/t1"))["value"]["title"] == "Coffee"
        again = await operator.post(told.form("/t1"))
        assert "t1 is saved." in again.text
    assert (await ask(served, "GET", "objects/todos/t1"))["value"]["title"] == "Milk"


async def test_object_is_added_but_never_over_another_and_deleted(served: Served) -> None:
    await prepared(served)
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/new-object/todos")).form("/todos")
        added = await operator.post(form, realm=ADA, value='{"id": "t1", "title": "Tea"}')
        assert "t1 is in todos." in added.text
        over = await operator.post(form, realm=ADA, value='{"id": "t1", "title": "Milk"}')
        assert (over.status, "has an object t1 already" in over.text) == (409, True)
        nobody = await operator.post(form, realm="nobody", value='{"id": "t2"}')
        assert (nobody.status, nobody.form("/todos").fields["realm"]) == (404, "nobody")
        assert (await operator.post(form, realm="", value="{}")).status == 400
        assert (await ask(served, "GET", "objects/todos/t1"))["value"]["title"] == "Tea"
        assert "also from the devices that have it" in added.text
        gone = await operator.post(added.form("/delete"))
        assert "t1 is deleted." in gone.text
    await ask(served, "GET", "objects/todos/t1", status=404)


async def test_keys_of_a_table_are_corrected(served: Served) -> None:
    await prepared(served)
    await put(served, "t1")
    async with signed_in(served) as operator:
        page = await operator.get("/apps/notes/data/todos")
        done = await operator.post(page.form("/tables/todos"), generated="on", id_prefix="tds")
        assert "What is known of todos is corrected." in done.text
        wrong = await operator.post(page.form("/tables/todos"), id_prefix="a b")
        assert (wrong.status, "A prefix has at most" in wrong.text) == (400, True)
    known = await ask(served, "GET", "tables/todos")
    assert (known["generated"], known["id_prefix"]) == (True, "tds")


async def test_change_hooks_are_listed_under_their_tables(served: Served) -> None:
    await prepared(served)
    await put(served, "t1")
    every = {"url": "https://all.example.com/", "format": "dexie"}
    one = {
        "url": "https://todos.example.com/",
        "format": "dexie",
        "filter": {"changes": [{"table": "todos", "operations": ["delete"]}]},
    }
    async with signed_in(served) as operator:
        assert "No change hooks yet" in (await operator.get("/apps/notes/change-hooks")).text
        await ask(served, "POST", "endpoints", every)
        made = await ask(served, "POST", "endpoints", one)
        page = await operator.get("/apps/notes/change-hooks")
        assert page.text.index("Every table") < page.text.index("https://all.example.com/")
        assert page.links["https://todos.example.com/"] == f"/manager/apps/notes/endpoints/{made['id']}"
        todos = await operator.get("/apps/notes/data/todos")
        assert {"https://all.example.com/", "https://todos.example.com/"} <= set(todos.links)
        other = await operator.get("/apps/notes/data/other")
        assert "https://todos.example.com/" not in other.links


async def test_model_is_checked_set_shown_and_taken_back(served: Served) -> None:
    await prepared(served)
    async with signed_in(served) as operator:
        empty = await operator.get("/apps/notes/model")
        assert "Write the model" in empty.text
        form = empty.form("/model")
        wrong = await operator.post(form, source=MODEL + '[[models.task.webhooks]]\ntype = "redy"\n')
        assert wrong.status == 400
        assert f"Line {MODEL.count(chr(10)) + 2}: type is ready or update, and not 'redy'." in wrong.text
        assert (await ask(served, "GET", "model"))["version"] == ""
        check = form.action
        form.action = f"{check}/check"
        checked = await operator.post(form, source=MODEL + HOOKS)
        assert "This is a data model" in checked.text
        assert "Web hooks: task_ready, task_task_update_follow." in checked.text
        assert (await ask(served, "GET", "model"))["version"] == ""
        form.action = check
        done = await operator.post(form, source=MODEL + HOOKS)
        assert "The data model is set." in done.text
        assert "task_ready ready task when title, user are there" in done.text
        assert "no code declares the task follow" in done.text
        assert "customer one customer, by customer_id" in done.text
        less = await operator.post(done.form("/model"), source=MODEL)
        assert "task_ready" not in less.text.partition("Data model Change hooks")[2].partition("The text")[0]
        undo = [each for each in less.forms if "webhooks" in each.fields.get("source", "")]
        await operator.post(undo[0])
    assert [each["name"] for each in (await ask(served, "GET", "model"))["hooks"]] == [
        "task_ready",
        "task_task_update_follow",
    ]


async def test_model_that_would_silence_an_endpoint_is_set_when_asked_twice(served: Served) -> None:
    await prepared(served)
    await ask(served, "PUT", "model", {"source": MODEL + HOOKS})
    told = {"url": "https://crm.example.com/hooks", "format": "journeyapps", "hook": "task_ready"}
    await ask(served, "POST", "endpoints", told)
    async with signed_in(served) as operator:
        page = await operator.get("/apps/notes/model")
        assert "https://crm.example.com/hooks" in page.links
        asked = await operator.post(page.form("/model"), source=MODEL)
        assert "This model loses web hooks that endpoints hear" in asked.text
        assert len((await ask(served, "GET", "model"))["hooks"]) == 2
        await operator.post(asked.form("/model"), all_the_same="on")
    assert (await ask(served, "GET", "model"))["hooks"] == []


async def test_key_of_the_model_is_rotated_after_a_question(served: Served) -> None:
    await prepared(served)
    async with signed_in(served) as operator:
        page = await operator.get("/apps/notes/model")
        assert "refuse requests in ten minutes" in page.text
        done = await operator.post(page.form("/key"))
    assert "There is a new key." in done.text


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_roles_that_only_read_see_no_forms_and_change_nothing(served: Served, role: Any) -> None:
    await prepared(served)
    await put(served, "t1", title="Tea")
    async with signed_in(served) as owner:
        save = (await owner.get("/apps/notes/data/todos/t1")).form("/t1")
    async with signed_in(served, role) as operator:
        for path in ("data", "data/todos", "data/todos/t1", "change-hooks"):
            page = await operator.get(f"/apps/notes/{path}")
            assert page.status == 200, path
            ends = {each.action.rpartition("/")[2] for each in page.forms}
            assert ends <= {"theme", "sign-out", "todos"}, path
        assert "Tea" in (await operator.get("/apps/notes/data/todos/t1")).text
        own = (await operator.get("/apps/notes/data")).form("/theme").fields["csrf"]
        save.fields |= {"csrf": own, "value": '{"id": "t1"}'}
        assert (await operator.post(save)).status == 403
    assert (await ask(served, "GET", "objects/todos/t1"))["value"]["title"] == "Tea"
