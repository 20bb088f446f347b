"""`admit model`: checked without a server, set and shown by every way."""

from pathlib import Path

from tests.contract.command_line import CommandLine
from tests.contract.model_desk import TASKS
from tests.contract.test_cli_commands import app

__all__ = ["app"]

HOOKS = """
[[models.task.webhooks]]
type = "ready"
fields = ["title", "user"]

[[models.task.webhooks]]
type = "update"
receiver = "task"
action = "follow"
"""


def test_check_says_everything_that_is_wrong_with_its_lines(admit: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "model.toml"
    file.write_text(TASKS + '[[models.task.webhooks]]\ntype = "redy"\nfields = ["titel"]\n')
    answer = admit("model", "check", str(file))
    assert answer.code == 1
    first, second = answer.err.splitlines()
    line = TASKS.count("\n") + 2
    assert first == f"{file}:{line}: type is ready or update, and not 'redy'. Is 'ready' meant?"
    assert second == f"{file}:{line + 1}: task has no field 'titel'. Is 'title' meant?"

    file.write_text(TASKS + HOOKS)
    answer = admit("model", "check", str(file))
    assert (answer.code, answer.err) == (0, "")
    assert "task_ready, cloudcode" not in answer.out
    assert "Web hooks: task_ready, task_task_update_follow." in answer.out
    assert admit("model", "check", str(tmp_path / "nothing.toml")).code == 2


def test_a_model_is_set_and_shown_with_whom_its_hooks_tell(
    admit: CommandLine, app: str, tmp_path: Path
) -> None:
    assert "admit model set" in admit("model", "show", app).err
    file = tmp_path / "model.toml"
    file.write_text(TASKS + HOOKS)
    answer = admit("model", "set", app, str(file))
    assert answer.code == 0, answer.err
    assert "no code" in answer.err
    made = admit.json("endpoint", "create", app, "https://crm.example.com/hooks", "--hook", "task_ready")
    assert (made["format"], made["hook"]) == ("journeyapps", "task_ready")
    shown = admit.json("model", "show", app)
    assert shown["models"] == ["task", "customer"]
    assert [(each["name"], each["required"], each["endpoints"]) for each in shown["hooks"]] == [
        ("task_ready", ["title", "user"], [made["id"]]),
        ("task_task_update_follow", [], []),
    ]
    assert admit("model", "show", app, "--source").out == TASKS + HOOKS

    task, customer = shown["described"]
    assert (task["table"], task["fields"]["due"], task["has_many"]) == ("tasks", "date", [])
    assert task["belongs_to"] == [{"name": "customer", "model": "customer", "member": "customer_id"}]
    assert customer["fields"] == {"name": "text"}

    file.write_text("[models.task\n")
    refused = admit("model", "set", app, str(file))
    assert refused.code == 1
    assert "It is not TOML" in refused.err
    assert admit.json("model", "show", app) == shown
    assert admit("model", "rotate-key", app, "--yes").code == 0
    near = admit("endpoint", "create", app, "https://crm.example.com/hooks", "--hook", "task_redy")
    assert "Is 'task_ready' meant?" in near.err
