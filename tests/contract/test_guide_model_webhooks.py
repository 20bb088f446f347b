"""docs/guides/model-webhooks.md: its model is set, its task is loaded, its receiver verifies."""

import json
import re
from typing import Any

from tests.contract.model_desk import operation
from tests.contract.task_desk import TaskDesk, desk
from tests.contract.test_endpoints_api import headers_of
from tests.contract.test_model_hooks_told import ada, listening, requests, set_model, write
from tests.structure.source import page

__all__ = ["desk"]


def block(language: str, containing: str) -> str:
    """The block of the guide in a language that has some text in it."""
    found = re.findall(
        rf"^```{language}\n(.*?)^```$", page("guides/model-webhooks.md"), re.MULTILINE | re.DOTALL
    )
    (text,) = [each for each in found if containing in each]
    return str(text)


async def test_guide_leads_from_a_model_to_a_verified_request_and_a_run(desk: TaskDesk) -> None:
    (desk.folder / "notes").mkdir(exist_ok=True)
    (desk.folder / "notes" / "assets.py").write_text(block("python", "register_asset"))
    await desk.load("")
    view = await set_model(desk.served, block("toml", "models.asset"))
    assert [(each["name"], each["task_declared"]) for each in view["hooks"]] == [
        ("asset_ready", False),
        ("task_asset_ready_register_asset", True),
        ("device_ready", False),
    ]
    scope: dict[str, Any] = {}
    exec(block("python", "is_ours"), scope)
    async with (
        listening(desk.served, "asset_ready") as (here, made),
        listening(desk.served, "device_ready") as (of_device, _),
    ):
        user, author = await ada(desk.served)
        site = operation("insert", "sit1", table="sites", name="Home")
        asset = operation("insert", "ast0PzXy9ZJ8Qm", table="assets", make="Apple", site_id="sit1")
        await write(desk.served, user, author, site, asset)
        (request,) = await requests(here, 1)
        (enrolled,) = await requests(of_device, 1)
    assert scope["is_ours"](request.body, headers_of(request), made["secret"])
    assert not scope["is_ours"](request.body + b" ", headers_of(request), made["secret"])
    told, shown = json.loads(request.body), json.loads(block("json", "asset_ready"))
    assert list(told) == list(shown)
    assert set(told["object"]) == set(shown["object"])
    assert told["object"]["site"] == shown["object"]["site"]
    assert json.loads(enrolled.body)["object"]["user"]["email"] == user.user_id

    (run,) = await desk.all_done("register_asset", 1)
    assert await desk.said(run.run_id) == ["Apple is ast0PzXy9ZJ8Qm"]
