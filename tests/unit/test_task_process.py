"""The worker process of tasks as the server meets it: a real one, over a socket."""

import os
import re
import signal
from typing import Any

import msgspec
import pytest

from admit.task import payloads, wire
from admit.task.declarations import Called, Decides, Http, On
from tests.task_process import NOW, PATIENCE_SECONDS, WorkerProcess

BEGINNING = "from admit import task\n"


def file(text: str) -> dict[str, str]:
    """An app of one file, which begins with the import of the kit in line 1."""
    return {"door.py": BEGINNING + text}


def called(body: str) -> dict[str, str]:
    """An app with one called task, `go`, whose body begins in line 4."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return file(f"@task.called\ndef go(context: task.CallContext) -> object:\n{indented}")


def fills_up(pieces: int, piece: str) -> str:
    """Takes so many pieces where it has parameters, and keeps them by its own error; else 60 MB."""
    return (
        "if context.parameters:\n"
        "    all = []\n"
        f"    try:\n        for _ in range({pieces}): all.append({piece})\n"
        "    except MemoryError as error:\n        kept = error\n        raise\n"
        "return len(bytearray(60_000_000))"
    )


# Loading


def test_it_says_which_tasks_there_are_with_file_and_line_of_the_function() -> None:
    files = {
        "door.py": BEGINNING
        + '@task.decides(\n    env=["KEY"],\n)\ndef decide(c):\n    """Lets in.\n\n    All."""\n',
        "crm/sync.py": BEGINNING
        + "from . import _names\n@task.on(_names.EVENT, once='device')\ndef sync(c): ...\n",
        "crm/_names.py": "EVENT = 'user.enrolled'\n",
        "test_door.py": "raise ImportError('a test is not imported')\n",
    }
    with WorkerProcess(files) as worker:
        decide, sync = worker.tasks["decide"], worker.tasks["sync"]
    assert (decide.file, decide.line, decide.about, decide.env) == ("door.py", 5, "Lets in.", ("KEY",))
    assert decide.trigger == Decides()
    assert (sync.file, sync.line) == ("crm/sync.py", 4)
    assert sync.trigger == On(types=("user.enrolled",), once="device")


def test_tasks_share_modules_of_the_folder_which_hide_installed_ones() -> None:
    files = called("import jinja2\nfrom shared.words import WORD\nreturn [jinja2.WORD, WORD]") | {
        "jinja2.py": "WORD = 'mine'\n",
        "shared/words.py": "WORD = 'of the package'\n",
    }
    with WorkerProcess(files) as worker:
        assert worker.run("go")[-1].result == b'["mine","of the package"]'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("x = 1\nif True\n", 3, "SyntaxError: expected ':'"),
        ("import no_such_module\n", 2, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)\n", 2, "SystemExit: 3"),
        ("@task.called\nasync def go(context): ...\n", 3, "go is an async def."),
        ("@task.called\ndef go(context):\n    yield 1\n", 3, "go has a yield"),
        ("@task.called\ndef go(): ...\n", 3, "go is called with one argument"),
        ("@task.called\ndef Go(context): ...\n", 3, "'Go' is no name for a task"),
        (
            "@task.called\ndef go(c): ...\n@task.called\ndef go(c): ...\n",
            5,
            "task go in this file, at line 2",
        ),
        ("@task.called(retires=())\ndef go(c): ...\n", 2, "TypeError: A task has no option 'retires'."),
        ("@task.called(timeout='soon')\ndef go(c): ...\n", 2, "Expected `float`, got `str`"),
        ("@task.called\n@task.every('* * * * *')\ndef go(c): ...\n", 2, "go has two decorators"),
        ("def make():\n    @task.called\n    def go(c): ...\nmake()\n", 3, "is inside something"),
        ("async def ask(c): ...\n@task.http('/x', authenticate=ask)\ndef go(c): ...\n", 4, "async def"),
    ],
)
def test_code_that_cannot_be_taken_is_a_problem_with_file_and_line(text: str, line: int, said: str) -> None:
    with WorkerProcess(file(text)) as worker:
        [problem] = worker.problems
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    assert (problem.file, problem.line) == ("door.py", line)
    assert said in problem.message


def test_an_import_that_fails_in_another_file_is_shown_where_it_stands_and_once() -> None:
    files = {"a.py": "import crm.sync\n", "crm/sync.py": "\n\nimport no_such_module\n", "z.py": "import a\n"}
    with WorkerProcess(files) as worker:
        [problem] = worker.problems
    assert (problem.file, problem.line) == ("crm/sync.py", 3)
    assert 'tasks/notes/a.py", line 1' in problem.traceback
    assert "import no_such_module\n" in problem.traceback
    assert "importlib" not in problem.traceback.partition("a.py")[0]


def test_every_file_that_cannot_be_taken_is_told() -> None:
    files = {
        "a.py": "1 +\n",
        "b.py": "import nowhere\n",
        "c.py": BEGINNING + "@task.called\ndef go(c): ...\n",
    }
    with WorkerProcess(files) as worker:
        assert [(each.file, each.line) for each in worker.problems] == [("a.py", 1), ("b.py", 1)]


def test_the_same_name_in_two_files_is_a_problem() -> None:
    text = BEGINNING + "@task.called\ndef go(context): ...\n"
    with WorkerProcess({"a.py": text, "b.py": text}) as worker:
        [problem] = worker.problems
    assert (problem.file, problem.line) == ("b.py", 3)
    assert "a.py:3" in problem.message


@pytest.mark.parametrize("path", ["email.py", "json/x.py", "my-task.py", "msgspec.py"])
def test_a_file_that_no_module_can_be_is_a_problem_that_names_it(path: str) -> None:
    with WorkerProcess({path: ""}) as worker:
        [problem] = worker.problems
    assert problem.file == path


# Running


def test_what_a_task_returns_prints_and_logs_is_told() -> None:
    files = called(
        "print('to you', context.parameters['name'])\n"
        "print('half', end='')\n"
        "print('oops', file=sys.stderr)\n"
        "context.log.warning('careful', count=3, other=[1])\n"
        "logging.getLogger('crm').info('sent %s', 1)\n"
        "return {'name': context.parameters['name']}"
    )
    files["door.py"] = "import logging, sys\n" + files["door.py"]
    with WorkerProcess(files) as worker:
        *lines, ended = worker.run("go", {"name": "Ada"})
    assert [(line.level, line.text) for line in lines] == [
        ("info", "to you Ada"),
        ("error", "oops"),
        ("warning", "careful"),
        ("info", "sent 1"),
        ("info", "half"),
    ]
    assert lines[2].fields == {"count": 3, "other": "[1]"}
    assert ended == wire.Ended(result=b'{"name":"Ada"}')


def test_what_a_task_raises_is_told_with_its_place_and_without_frames_of_the_kit() -> None:
    files = called("import sync\nsync.push()") | {"sync.py": "def push():\n    return 1 / 0\n"}
    with WorkerProcess(files) as worker:
        [raised] = worker.run("go")
        assert worker.run("go")[-1] == raised
    assert (raised.error, raised.message, raised.place) == (
        "ZeroDivisionError",
        "division by zero",
        "sync.py:2",
    )
    assert raised.traceback.splitlines()[1:3] == [
        '  File "/srv/tasks/notes/door.py", line 5, in go',
        "    sync.push()",
    ]
    assert "admit/task" not in raised.traceback


def test_an_error_of_the_kit_is_shown_where_the_task_has_called_it() -> None:
    with WorkerProcess(called("task.refuse('no', 'No.')")) as worker:
        [raised] = worker.run("go")
    assert raised.place == "door.py:4"
    assert raised.traceback.splitlines()[-2:] == [
        "    task.refuse('no', 'No.')",
        "ValueError: A code is made of capital letters, digits and _, such as NOT_INVITED: 'no'",
    ]


def test_the_cause_of_an_error_is_told_too() -> None:
    text = "try:\n    {}['a']\nexcept KeyError as error:\n    raise RuntimeError('no a') from error"
    with WorkerProcess(called(text)) as worker:
        [raised] = worker.run("go")
    assert "KeyError: 'a'" in raised.traceback
    assert raised.place == "door.py:7"


@pytest.mark.parametrize(
    "what", ["SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()", "RecursionError()"]
)
def test_what_would_end_a_program_ends_the_run_alone(what: str) -> None:
    with WorkerProcess(called(f"if context.parameters:\n    raise {what}\nreturn 'alive'")) as worker:
        assert worker.run("go", {"end": True})[-1].error == what.partition("(")[0]
        assert worker.run("go")[-1].result == b'"alive"'


def test_a_result_that_is_no_json_or_too_large_is_told() -> None:
    text = "return object() if context.parameters else 'x' * 1_000_001"
    with WorkerProcess(called(text)) as worker:
        assert "cannot be written as JSON" in worker.run("go", {"what": 1})[-1].message
        assert "1000003 bytes; 1000000 are allowed" in worker.run("go")[-1].message


def test_a_task_that_is_not_there_is_told() -> None:
    with WorkerProcess(called("return 1")) as worker:
        assert worker.run("gone")[-1].error == "LookupError"


def test_a_decision_must_be_one() -> None:
    payload = payloads.Decision(
        admission_id="adm_1",
        user_id="ada@example.com",
        email="ada@example.com",
        email_verified=True,
        name="",
        sign_in=payloads.SignedIn(method="email_code", provider="email"),
        device=payloads.AskedDevice(identifier="tablet-1", derived=False),
        claims={},
        address="192.0.2.1",
    )
    text = (
        "@task.decides\ndef decide(c):\n"
        "    return task.admit('prod', data={'device': c.deviceIdentifier, 'at': c.request.address})\n"
        "@task.decides\ndef forgets(c): ...\n"
        "@task.decides\ndef writes(c): c.db.users.create('eve', type='prod')\n"
    )
    with WorkerProcess(file(text)) as worker:
        assert msgspec.json.decode(worker.run("decide", payload=payload)[-1].result) == {
            "decision": "admit",
            "type": "prod",
            "data": {"device": "tablet-1", "at": "192.0.2.1"},
            "name": "",
        }
        assert "this one returned nothing" in worker.run("forgets", payload=payload)[-1].message
        said = worker.run("writes", payload=payload)
    assert said == [said[-1]]
    assert said[-1].error == "PermissionError"


def test_an_http_task_asks_whether_a_request_may_come_in_and_nothing_but_true_lets_it() -> None:
    text = (
        "@task.http('/open', authenticate=task.anybody)\ndef open_(c): return {'got': c.json()}\n"
        "@task.http('/key', authenticate=task.bearer('KEY'))\ndef key(c): ...\n"
        "def truthy(c): return 'yes'\n"
        "@task.http('/truthy', authenticate=truthy)\ndef almost(c): raise SystemExit\n"
    ).replace("open_", "opened")
    request = payloads.Request(
        method="POST", path="/x", query=(), headers={"authorization": "Bearer s3cret"}, body=b'{"a": 1}'
    )
    malformed = payloads.Request(method="POST", path="/x", query=(), headers={}, body=b"{")
    ask: dict[str, Any] = {"payload": request, "authenticate_only": True}
    with WorkerProcess(file(text)) as worker:
        assert worker.tasks["key"].trigger == Http(path="/key")
        assert worker.tasks["key"].env == ("KEY",)
        assert worker.run("opened", **ask) == [wire.Ended(result=b"null")]
        assert worker.run("key", env={"KEY": "s3cret"}, **ask) == [wire.Ended(result=b"null")]
        assert worker.run("key", env={"KEY": "other"}, **ask) == [wire.Declined()]
        assert worker.run("key", **ask)[-1] == wire.Declined()
        assert worker.run("almost", **ask)[-1] == wire.Declined()
        answer = msgspec.json.decode(worker.run("opened", payload=request)[-1].result)
        assert (answer["status"], answer["body"]) == (200, '{"got":{"a":1}}')
        assert msgspec.json.decode(worker.run("key", payload=request)[-1].result)["status"] == 204
        assert msgspec.json.decode(worker.run("opened", payload=malformed)[-1].result)["status"] == 400


def test_values_of_variables_do_not_leave_in_lines_errors_or_tracebacks() -> None:
    secret = "sk_live_7&7"
    text = (
        "key = context.env['KEY']\n"
        "print('the key', key)\n"
        "context.log.info('fields', key=key)\n"
        "print(context.env)\n"
        "raise ValueError(f'https://crm.example.com/?key={key} sk_live_7%267')"
    )
    with WorkerProcess(called(text)) as worker:
        said = worker.run("go", env={"KEY": secret})
    assert [line.text for line in said[:3]] == ["the key ***", "fields", "Env(KEY)"]
    assert said[1].fields == {"key": "***"}
    assert said[-1].message == "https://crm.example.com/?key=*** ***"
    assert secret not in repr(said)
    assert "sk_live" not in repr(said)


def test_what_was_read_stays_and_what_was_written_travels_with_the_end() -> None:
    row = wire.UserRow(
        uid="usr_1",
        user_id="ada@example.com",
        email="ada@example.com",
        email_verified=True,
        name="Ada",
        type="eval",
        data=b'{"plan":"free"}',
        created_at=NOW,
        updated_at=NOW,
        last_login_at=None,
        valid_until=None,
        eval_days_left=3,
        deactivated_at=None,
        locked_at=None,
        way_in="email_code",
        version="v7",
    )
    text = (
        "ada = context.db.users.get('ada@example.com')\n"
        "context.db.users.update(ada, type='prod')\n"
        "context.db.users.update('ada@example.com', data={**ada.data, 'plan': 'team'})\n"
        "again = context.db.users.get('ada@example.com')\n"
        "context.call('other', {'n': 1}, after=5)\n"
        "return [ada.type, again.type, again.data]"
    )
    with WorkerProcess(called(text)) as worker:
        worker.begin("go")
        assert worker.receive() == wire.Ask(wire.FindUser("ada@example.com"))
        worker.send(wire.Answer(value=row))
        [ended] = worker.rest()
    assert ended.result == b'["eval","prod",{"plan":"team"}]'
    [change] = ended.changes
    assert (change.user_id, change.version) == ("ada@example.com", "v7")
    assert msgspec.json.decode(change.entry) == {
        "userId": "ada@example.com",
        "type": "prod",
        "data": {"plan": "team"},
    }
    [call] = ended.calls
    assert (call.task, call.parameters, call.queue) == ("other", b'{"n":1}', "")


def test_what_the_server_cannot_give_is_raised_in_the_task_with_its_sentence() -> None:
    text = (
        "try:\n    context.http.post('https://crm.example.com', json={}, key='one')\n"
        "except task.NotAnswered as error:\n    return str(error)"
    )
    with WorkerProcess(called(text)) as worker:
        worker.begin("go")
        asked = worker.receive()
        assert isinstance(asked, wire.Ask)
        assert isinstance(asked.question, wire.Fetch)
        assert asked.question.headers["idempotency-key"] == "run_1.one"
        worker.send(wire.Answer(error="Nobody answers there."))
        assert worker.rest()[-1].result == b'"Nobody answers there."'


def test_an_answer_that_was_not_waited_for_is_never_taken_for_another() -> None:
    text = (
        "import signal\n"
        "def ring(*_): raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, ring)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "try:\n    context.db.users.get('ada')\n"
        "except TimeoutError:\n    print('rung')\n"
        "return context.db.users.get('eve')"
    )
    with WorkerProcess(called(text)) as worker:
        worker.begin("go")
        assert worker.receive() == wire.Ask(wire.FindUser("ada"))
        line = worker.receive()
        worker.send(wire.Answer(value=None))
        leaving, raised = worker.rest()
    assert isinstance(line, wire.Said)
    assert leaving == wire.Leaving()
    assert isinstance(raised, wire.Raised)
    assert "left without its answer" in raised.message


def test_streams_that_a_run_has_replaced_are_back_in_the_next() -> None:
    with WorkerProcess(called("import io, sys\nprint('said')\nsys.stdout = io.StringIO()")) as worker:
        for _ in range(2):
            assert worker.run("go")[0].text == "said"


# Limits, and ends


def test_memory_that_is_not_there_ends_the_run_and_not_the_process() -> None:
    with WorkerProcess(called(fills_up(280, "bytearray(1_000_000)")), memory_bytes=200_000_000) as worker:
        raised = worker.run("go", {"much": True})[-1]
        assert (raised.error, raised.place) == ("MemoryError", "door.py:7")
        assert worker.run("go")[-1].result == b"60000000"


def test_memory_that_went_in_small_pieces_is_told_too() -> None:
    with WorkerProcess(called(fills_up(2_000_000, "[None] * 9")), memory_bytes=200_000_000) as worker:
        assert worker.run("go", {"much": True})[-1].error == "MemoryError"
        assert worker.run("go")[-1].result == b"60000000"


def test_a_task_that_loops_ends_with_the_server() -> None:
    with WorkerProcess(called("print('here')\nwhile True: pass")) as worker:
        worker.begin("go")
        assert isinstance(worker.receive(), wire.Said)
        worker.socket.close()
        assert worker.process.wait(PATIENCE_SECONDS) == 0


def test_it_writes_where_it_stands_when_it_is_asked_to() -> None:
    with WorkerProcess(called("print('here')\nwhile True: pass")) as worker:
        worker.begin("go")
        assert isinstance(worker.receive(), wire.Said)
        worker.process.send_signal(signal.SIGUSR1)
        assert worker.process.stderr is not None
        written = b""
        while not re.search(rb'door\.py", line \d in go\n', written):
            read = os.read(worker.process.stderr.fileno(), 65_536)
            assert read, written
            written += read


def test_no_more_lines_than_allowed_leave_and_the_last_says_how_many_were_dropped() -> None:
    with WorkerProcess(called("for n in range(1_200): print(n, 'x' * 10_000 if n == 0 else '')")) as worker:
        *lines, _ = worker.run("go")
    assert len(lines) == 1_001
    assert len(lines[0].text) == 8_000
    assert "200 more lines were dropped" in lines[-1].text


def test_a_thread_that_is_left_behind_says_nothing_in_the_next_run() -> None:
    text = (
        "import threading\n"
        "if context.parameters:\n"
        "    go_on, done = threading.Event(), threading.Event()\n"
        "    context.env.__class__.kept = go_on, done\n"
        "    def late():\n"
        "        go_on.wait()\n"
        "        print('late')\n"
        "        try:\n            context.log.info('late')\n"
        "        except RuntimeError as error:\n            context.env.__class__.kept += (str(error),)\n"
        "        done.set()\n"
        "    threading.Thread(target=late, daemon=True).start()\n"
        "    return\n"
        "go_on, done = context.env.__class__.kept\n"
        "go_on.set()\n"
        "done.wait()\n"
        "return context.env.__class__.kept[2]"
    )
    with WorkerProcess(called(text)) as worker:
        assert worker.run("go", {"leave": True}) == [wire.Leaving(), wire.Ended(result=b"null")]
        assert worker.run("go")[-1:] == [wire.Ended(result=b'"This run is over."')]


def test_a_process_that_is_left_behind_is_told() -> None:
    with WorkerProcess(called("import subprocess\nsubprocess.Popen(['sleep', '0.1'])")) as worker:
        assert worker.run("go") == [wire.Leaving(), wire.Ended(result=b"null")]


def test_a_fork_of_a_task_says_nothing_to_the_server() -> None:
    text = "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\nprint('after')\nreturn pid > 0"
    with WorkerProcess(called(text)) as worker:
        line, ended = worker.run("go")
        assert (line.text, ended.result) == ("after", b"true")
        assert worker.run("go")[-1].result == b"true"


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos.closerange(3, 1_000)",
        "import os\nos._exit(7)",
        "import os\nfor fd in range(3, 64):\n    try:\n        os.dup2(1, fd)\n    except OSError: pass",
    ],
    ids=["closes", "exits", "replaces"],
)
def test_a_task_that_ruins_its_process_is_at_worst_its_own_end(body: str) -> None:
    with WorkerProcess(called(body)) as worker:
        worker.begin("go")
        with pytest.raises(EOFError):
            worker.receive()


def test_a_crash_is_written_with_its_place() -> None:
    with WorkerProcess(called("import ctypes\nctypes.string_at(0)")) as worker:
        worker.begin("go")
        with pytest.raises((EOFError, ConnectionResetError)):
            worker.receive()
        assert 'door.py", line 5 in go' in worker.report()
        assert worker.process.returncode == -signal.SIGSEGV


def test_code_that_is_not_utf_8_is_read_as_it_says() -> None:
    text = "# -*- coding: latin-1 -*-\nfrom admit import task\n@task.called\ndef go(c): return 'Grüße'\n"
    with WorkerProcess({"door.py": text.encode("latin-1")}) as worker:
        assert worker.run("go")[-1].result.decode() == '"Grüße"'


def test_importing_the_kit_imports_nothing_of_the_server_and_nothing_heavy() -> None:
    with WorkerProcess(called("import sys\nreturn sorted(sys.modules)")) as worker:
        loaded = msgspec.json.decode(worker.run("go")[-1].result)
    ours = {name.split(".")[1] for name in loaded if name.startswith("admit.")}
    assert ours == {"clock", "task"}
    assert {"asyncio", "ssl", "sqlalchemy", "logging", "email", "socket"} & set(loaded) == set()


def test_the_code_is_called_by_the_trigger_that_it_declares() -> None:
    with WorkerProcess(called("return 1")) as worker:
        assert worker.tasks["go"].trigger == Called()
