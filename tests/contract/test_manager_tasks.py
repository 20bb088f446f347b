"""The pages of tasks: what they show, what their forms do, and what a role leaves out."""

import pytest

from tests.contract.manager_pages import Operator, signed_in
from tests.contract.task_desk import TaskDesk, desk
from tests.contract.test_admin_api import api
from tests.contract.test_tasks_api import done, ended

__all__ = ["desk"]

CODE = """
    @task.called(retries=(3600,), env=["CRM_KEY"])
    def greet(context):
        '''Greets somebody.'''
        context.log.info("hello", whom=context.parameters.get("whom", "nobody"))
        if context.parameters.get("fails"):
            raise ValueError("not today")
        return {"greeted": context.parameters["whom"]}

    @task.on("user.enrolled")
    def welcome(context):
        context.http.post("http://127.0.0.1:9/", json={"user": context.user.user_id})

    @task.every("0 7 * * *", timezone="Asia/Tokyo")
    def tidy(context):
        pass

    @task.decides
    def door(context):
        return task.admit("prod", name=context.name)

    @task.http("/here", authenticate=task.signed_in)
    def here(context):
        context.db.users.create("new@example.com", type="prod")
        context.call("greet", {"whom": context.caller.user_id})
        return {"path": context.path}
"""
TASKS = "/apps/notes/tasks"


async def test_tasks_are_listed_by_what_sets_them_off(desk: TaskDesk) -> None:
    await desk.load(CODE)
    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"fails": True}})
    await ended(desk, run["id"])
    async with signed_in(desk.served) as operator:
        page = await operator.get(TASKS)
    assert page.status == 200
    places = [
        page.text.index(each) for each in ("On events", "By the clock", "HTTP", "At the door", "When called")
    ]
    assert places == sorted(places)
    assert "greet Greets somebody. when called Failed, tries again" in page.text
    assert "0 7 * * * Asia/Tokyo Never ran in " in page.text
    assert "07:00 Asia/Tokyo" in page.text
    assert "POST /here" in page.text
    assert page.links["greet"] == "/manager/apps/notes/tasks/greet"
    assert page.links["Failed, tries again"] == f"/manager/apps/notes/runs/{run['id']}"
    assert "admit task list notes" in page.text


async def test_app_without_tasks_is_told_how_to_write_one(desk: TaskDesk) -> None:
    (desk.folder / "notes").mkdir()
    assert desk.served.gateway.registry is not None
    await desk.served.gateway.registry.load()
    async with signed_in(desk.served) as operator:
        page = await operator.get(TASKS)
    assert "No tasks yet" in page.text
    assert "@task.on(" in page.text


async def test_code_that_cannot_be_taken_is_an_alert_with_its_place(desk: TaskDesk) -> None:
    await desk.load(CODE)
    (desk.folder / "notes" / "more.py").write_text("import nothing_of_this_name\n")
    async with signed_in(desk.served) as operator:
        page = await operator.get(TASKS)
        assert "was not taken" not in page.text
        read = await operator.post(page.form("/tasks"))
    assert (read.status, "The code was read, and not taken." in read.text) == (200, True)
    assert "notes/more.py, line 1: the code was not taken" in read.text
    assert "The former code goes on." in read.text
    assert "nothing_of_this_name" in read.text


async def test_task_is_paused_and_the_undo_resumes_it(desk: TaskDesk) -> None:
    await desk.load(CODE)
    async with signed_in(desk.served) as operator:
        page = await operator.get(f"{TASKS}/greet")
        assert "Ready" in page.text
        assert "Runs begin without CRM_KEY ." in page.text
        paused = await operator.post(page.form("/pause"))
        assert "greet is paused. Its runs wait." in paused.text
        assert (await done(desk, "GET", "tasks/greet"))["state"] == "paused"
        undo = [each for each in paused.forms if each.action.endswith("/resume")]
        resumed = await operator.post(undo[-1])
    assert "greet runs again." in resumed.text
    assert (await done(desk, "GET", "tasks/greet"))["state"] == "ready"


async def test_run_is_begun_with_what_was_typed_and_followed(desk: TaskDesk) -> None:
    await desk.load(CODE)
    async with signed_in(desk.served) as operator:
        form = (await operator.get(f"{TASKS}/greet")).form("/rehearse")
        form.action = form.action.replace("/rehearse", "/run")
        begun = await operator.post(form, given='{"whom": "ada"}')
        run_id = begun.url.rpartition("/")[2]
        await ended(desk, run_id)
        over = await operator.get(f"/apps/notes/runs/{run_id}")
        assert "Done" in over.text
        assert "hello whom= ada" in over.text
        assert '"greeted" : "ada"' in over.text
        assert "hx-get" not in over.html.partition("<main")[2].partition("</main>")[0]
        again = await operator.post(over.form("/retry"))
        assert "The run is due again." in again.text
        await ended(desk, run_id)
        assert len((await done(desk, "GET", f"runs/{run_id}"))["history"]) >= 1


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ('{"whom": "ada",}', "Line 1, character 16: remove the comma before “}”."),
        ('{\n"whom": ada}', "Line 2, character 9: “a” cannot stand here."),
        ('{"whom": "ada"', "Line 1, character 15: the JSON ends before it is complete."),
        ("[1]", "Write a JSON object"),
        ('{"n": NaN}', "are no JSON"),
    ],
)
async def test_what_is_no_json_is_refused_with_its_place_and_kept_as_typed(
    desk: TaskDesk, typed: str, sentence: str
) -> None:
    await desk.load(CODE)
    async with signed_in(desk.served) as operator:
        form = (await operator.get(f"{TASKS}/greet")).form("/rehearse")
        for verb in ("rehearse", "run"):
            form.action = form.action.rpartition("/")[0] + f"/{verb}"
            refused = await operator.post(form, given=typed)
            assert (refused.status, sentence in refused.text) == (400, True), refused.text
            assert refused.form("/rehearse").fields["given"] == typed
    assert await desk.page(task_id=desk.task("greet").task_id) == []


async def test_rehearsal_shows_what_would_be_done_and_keeps_nothing(desk: TaskDesk) -> None:
    await desk.load(CODE)
    async with signed_in(desk.served) as operator:
        form = (await operator.get(f"{TASKS}/here")).form("/rehearse")
        here = await operator.post(form, given='{"user": "bob@example.com"}')
        assert "Went well" in here.text
        assert "Change Write user new@example.com" in here.text
        assert 'Call greet {"whom": "bob@example.com"}' in here.text
        told = await operator.post((await operator.get(f"{TASKS}/welcome")).form("/rehearse"))
        assert "Request POST http://127.0.0.1:9/" in told.text
        assert "It would have failed" in told.text
        unknown = await operator.post(
            (await operator.get(f"{TASKS}/welcome")).form("/rehearse"), event="evt_x"
        )
        assert (unknown.status, "There is no event 'evt_x'" in unknown.text) == (404, True)
        decided = await operator.post((await operator.get(f"{TASKS}/door")).form("/rehearse"))
        assert '"decision" : "admit"' in decided.text
    assert await desk.page(task_id=desk.task("greet").task_id) == []
    assert (await done(desk, "GET", "users"))["users"] == []


async def test_runs_are_filtered_by_task_and_state_and_paged(desk: TaskDesk) -> None:
    await desk.load(CODE)
    await done(desk, "POST", "tasks/greet/pause")
    for _ in range(52):
        await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    async with signed_in(desk.served) as operator:
        first = await operator.get("/apps/notes/runs?task=greet")
        assert first.html.count('<th scope="row">') == 50
        second = await operator.get(first.links["Older"])
        assert second.html.count('<th scope="row">') == 2
        assert "Older" not in second.links
        none = await operator.get("/apps/notes/runs?task=greet&state=failed")
        assert "No runs" in none.text
        wrong = await operator.get("/apps/notes/runs?task=nothing")
        assert (wrong.status, "There is no task 'nothing'" in wrong.text) == (400, True)
        assert (await operator.get("/apps/notes/runs?state=nonsense")).status == 400
        nobody = await operator.get("/apps/notes/runs/run_of_nobody")
        assert nobody.status == 404


async def test_lines_come_while_the_run_goes_on_and_then_no_more_are_asked_for(desk: TaskDesk) -> None:
    await desk.load(CODE)
    await done(desk, "POST", "tasks/greet/pause")
    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {"whom": "ada"}})
    async with signed_in(desk.served) as operator:
        page = await operator.get(f"/apps/notes/runs/{run['id']}")
        asks = page.html.partition('id="further" hx-get="')[2].partition('"')[0]
        assert "after=" in asks
        quiet = await _news(operator, asks)
        assert "standing" not in quiet, "a button that has the focus must not be replaced"
        assert quiet.count("hx-get") == 1
        await done(desk, "POST", "tasks/greet/resume")
        await ended(desk, run["id"])
        news = await _news(operator, asks)
    assert "hello" in news
    assert 'id="standing" hx-swap-oob="true"' in news
    assert "Done" in news
    assert "hx-get" not in news
    assert "<html" not in news


async def test_waiting_run_is_cancelled(desk: TaskDesk) -> None:
    await desk.load(CODE)
    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {}, "after_seconds": 3600})
    async with signed_in(desk.served) as operator:
        page = await operator.get(f"/apps/notes/runs/{run['id']}")
        assert "Nothing that it wanted to change is changed." in page.text
        form = page.form("/cancel")
        assert "Cancelled" in (await operator.post(form)).text
        assert (await done(desk, "GET", f"runs/{run['id']}"))["state"] == "cancelled"
        assert "has ended" in (await operator.post(form)).text


async def test_variables_are_set_and_forgotten_and_never_shown(desk: TaskDesk) -> None:
    await desk.load(CODE)
    async with signed_in(desk.served) as operator:
        page = await operator.get("/apps/notes/task-env")
        assert "CRM_KEY of greet" in page.text
        assert "No variables yet" in page.text
        kept = await operator.post(page.form("/task-env"), name="CRM_KEY", value="sesame-of-crm\nsecond")
        assert "CRM_KEY is set." in kept.text
        assert "sesame" not in kept.html
        assert [each["name"] for each in await done(desk, "GET", "task-env")] == ["CRM_KEY"]
        wrong = await operator.post(page.form("/task-env"), name="crm", value="sesame-of-crm")
        assert (wrong.status, "is not the name of a variable" in wrong.text) == (400, True)
        assert "sesame" not in wrong.html
        gone = await operator.post(kept.form("/CRM_KEY/delete"))
        assert "CRM_KEY is forgotten." in gone.text
    assert await done(desk, "GET", "task-env") == []


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_roles_that_only_read_see_no_forms_and_change_nothing(desk: TaskDesk, role: str) -> None:
    await desk.load(CODE)
    run = await done(desk, "POST", "tasks/greet/runs", {"parameters": {}, "after_seconds": 3600})
    async with signed_in(desk.served) as owner:
        pause = (await owner.get(f"{TASKS}/greet")).form("/pause")
        cancel = (await owner.get(f"/apps/notes/runs/{run['id']}")).form("/cancel")
    async with signed_in(desk.served, role) as operator:  # type: ignore[arg-type]
        pages = [
            TASKS,
            f"{TASKS}/greet",
            "/apps/notes/runs",
            f"/apps/notes/runs/{run['id']}",
            "/apps/notes/task-env",
        ]
        for path in pages:
            page = await operator.get(path)
            assert page.status == 200, path
            assert {each.action.rpartition("/")[2] for each in page.forms} <= {"theme", "sign-out", "runs"}, (
                path
            )
        own = (await operator.get(TASKS)).form("/theme").fields["csrf"]
        for form in (pause, cancel):
            form.fields = {"csrf": own}
            assert (await operator.post(form)).status == 403
    assert (await done(desk, "GET", "tasks/greet"))["state"] == "ready"
    assert (await done(desk, "GET", f"runs/{run['id']}"))["state"] == "waiting"


async def test_server_without_tasks_says_how_to_load_them(desk: TaskDesk) -> None:
    assert (await api(desk.served, "POST", "apps", {"name": "other", "owner": "o@example.com"})).status == 200
    async with signed_in(desk.served) as operator:
        page = await operator.get("/apps/other/tasks")
    assert "This server loads no tasks" in page.text
    assert "ADMIT_TASKS=tasks" in page.text


async def _news(operator: Operator, address: str) -> str:
    shown = await operator.fragment(address)
    assert shown.status == 200
    return shown.html
