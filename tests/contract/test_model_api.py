"""The admin API of the data model, and of counting objects: what a page of the Manager asks for."""

from tests.contract.model_desk import TASKS
from tests.contract.served import Served
from tests.contract.test_admin_api import api, operator_token

HOOKS = """
[[models.task.webhooks]]
type = "ready"
fields = ["title", "user"]
"""
MODEL = "apps/notes/model"


async def test_a_model_is_described_with_fields_and_relations(served: Served) -> None:
    await served.app()
    empty = await api(served, "GET", MODEL)
    assert (empty.json["version"], empty.json["described"]) == ("", [])
    shown = await api(served, "PUT", MODEL, {"source": TASKS})
    task, customer = shown.json["described"]
    assert (task["name"], task["table"], task["fields"]["due"]) == ("task", "tasks", "date")
    assert task["belongs_to"] == [{"name": "customer", "model": "customer", "member": "customer_id"}]
    assert (task["has_many"], customer["fields"]) == ([], {"name": "text"})


async def test_checking_a_model_says_what_is_wrong_or_would_be_lost_and_changes_nothing(
    served: Served,
) -> None:
    await served.app()
    set_ = await api(served, "PUT", MODEL, {"source": TASKS + HOOKS})
    told = {"url": "https://crm.example.com/hooks", "format": "journeyapps", "hook": "task_ready"}
    endpoint = (await api(served, "POST", "apps/notes/endpoints", told)).json["id"]

    same = await api(served, "POST", f"{MODEL}/check", {"source": TASKS + HOOKS})
    assert (same.status, same.json["problems"], same.json["lost"]) == (200, [], [])
    assert [(each["name"], each["endpoints"]) for each in same.json["hooks"]] == [("task_ready", [endpoint])]
    without = await api(served, "POST", f"{MODEL}/check", {"source": TASKS})
    assert (without.json["models"], without.json["hooks"]) == (["task", "customer"], [])
    assert [(each["name"], each["endpoints"]) for each in without.json["lost"]] == [
        ("task_ready", [endpoint])
    ]
    wrong = await api(served, "POST", f"{MODEL}/check", {"source": TASKS + HOOKS.replace("ready", "redy")})
    line = TASKS.count("\n") + 3
    assert wrong.json["problems"] == [
        {"line": line, "message": "type is ready or update, and not 'redy'. Is 'ready' meant?"}
    ]
    assert (wrong.json["models"], wrong.json["lost"]) == ([], [])
    kept = await api(served, "GET", MODEL)
    assert kept.json["version"] == set_.json["version"]


async def test_checking_a_model_is_reading(served: Served) -> None:
    await served.app()
    reads = await operator_token(served, "webhooks:read")
    body = {"source": TASKS}
    assert (await api(served, "POST", f"{MODEL}/check", body, reads)).status == 200
    assert (await api(served, "PUT", MODEL, body, reads)).status == 403
    other = await operator_token(served, "data:read")
    assert (await api(served, "POST", f"{MODEL}/check", body, other)).status == 403


async def test_a_count_looks_at_no_more_rows_than_it_is_told(served: Served) -> None:
    await served.app()
    for number in range(3):
        body = {"value": {"id": f"t{number}"}, "realm_id": "rlm-public"}
        assert (await api(served, "POST", "apps/notes/objects/todos", body)).status == 200
    where = "apps/notes/object-counts/todos"
    first = (await api(served, "GET", f"{where}?rows=2")).json
    assert first["objects"] == 2
    rest = (await api(served, "GET", f"{where}?rows=2&after={first['after']}")).json
    assert rest == {"objects": 1, "after": None}
    assert (await api(served, "GET", f"{where}?rows=0")).status == 400
