"""Rules about the shape of the code. Each test lists the places that break its rule."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.structure.source import PACKAGE, ROOT, modules

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

CLOCK_AND_DICE = re.compile(
    r"(random|secrets|uuid)\..*|os\.urandom|time\.(time|time_ns|gmtime|localtime|strftime|ctime)"
    r"|datetime\.(datetime|date)\.(now|utcnow|today)"
)

SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|BEGIN|VACUUM|LISTEN|NOTIFY)\b\s+\S"
)
RAW_SQL = ("sqlalchemy.text", "sqlalchemy.literal_column", "sqlalchemy.sql.text")
A_VALUE = re.compile(r"\d+|'\w*'|NULL")  # as a literal column it is no more than what a Core constant says
SENDERS = ("aiohttp", "httpx", "requests", "urllib.request", "http.client", "smtplib", "aiosmtplib", "socket")
PAIRS_OF_SOCKETS = ("task/nursery.py", "tasks/nursery.py", "tasks/worker_process.py")
OPENS_A_SOCKET = ("socket.socket", "socket.create_connection", "socket.create_server", "socket.fromfd")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")


def test_a_module_is_read_in_one_sitting() -> None:
    long = [
        f"{module.name} has {lines} lines"
        for module in modules()
        if not module.name.startswith("storage/migrations/")  # drafted from the tables of the rooms
        and (lines := len(module.text.splitlines())) > MODULE_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_a_function_fits_on_a_screen() -> None:
    long = [
        f"{module.name}:{node.lineno} {node.name} has {lines} lines"
        for module in modules()
        if not module.name.startswith("storage/migrations/")  # a list of statements, however long
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_every_room_and_every_module_begins_with_a_sentence() -> None:
    silent = [
        module.name
        for module in modules()
        if module.text.strip() and not re.match(r"[^\n]+[.?:]", ast.get_docstring(module.tree) or "")
    ]
    rooms = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    empty = [room for room in rooms if not (PACKAGE / room / "__init__.py").read_text().strip()]
    assert silent == empty == []


def test_only_the_clock_module_knows_the_time_and_the_dice() -> None:
    places = [
        f"{module.name}:{node.lineno} uses {name}"
        for module in modules()
        if module.name != "clock.py"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute) and CLOCK_AND_DICE.fullmatch(name := module.meant(node))
    ]
    assert not places, "\n".join(places)


def test_raw_sql_stays_in_storage() -> None:
    places = []
    for module in (each for each in modules() if each.room != "storage"):
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(args=[ast.Constant(value=str(words))]) if A_VALUE.fullmatch(words):
                    continue
                case ast.Call(func=function) if module.meant(function) in RAW_SQL:
                    places.append(f"{module.name}:{node.lineno} writes SQL itself")
                case ast.Attribute(attr="exec_driver_sql"):
                    places.append(f"{module.name}:{node.lineno} hands SQL to the driver")
                case ast.Constant(value=str(words)) if SQL.match(words):
                    places.append(f"{module.name}:{node.lineno} looks like SQL: {words!r}")
    assert not places, "\n".join(places)


def test_a_room_writes_to_its_own_tables_only() -> None:
    places = []
    for module in modules():
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            verb = module.meant(node.func).rpartition(".")[2]
            table = module.meant(node.args[0])
            if verb in ("insert", "update", "delete") and table.startswith("admit."):
                owner = table.split(".")[1]
                if owner != module.room:
                    places.append(f"{module.name}:{node.lineno} writes to {table}")
    assert not places, "\n".join(places)


def test_nothing_leaves_the_house_but_through_outbound() -> None:
    """Storage has its database, web listens; commands and the client ask a server and are no part of it.
    Processes of tasks are spoken with over pairs of sockets, which lead nowhere else."""
    places = [
        f"{module.name} imports {name}"
        for module in modules()
        if module.room not in ("outbound", "storage", "cli", "client")
        for name in module.imports.values()
        if name.startswith(SENDERS)
        and not (name == "socket" and (module.room == "web" or module.name in PAIRS_OF_SOCKETS))
    ]
    places += [
        f"{module.name}:{node.lineno} opens {meant}"
        for module in modules()
        if module.name in PAIRS_OF_SOCKETS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and (meant := module.meant(node.func)) in OPENS_A_SOCKET
        if meant != "socket.socket" or [each.arg for each in node.keywords] != ["fileno"]
    ]
    assert not places, "\n".join(places)


def test_nothing_is_left_for_later_in_a_comment() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not places, "\n".join(places)


def test_the_import_rule_has_no_exceptions() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert "ignore_imports" not in settings
    assert "exhaustive = true" in settings


def _texts() -> Iterator[Path]:
    for folder in ("src", "tests", "bench", "examples", "scripts", "docs"):
        for path in (ROOT / folder).rglob("*"):
            built = {"node_modules", "dist", "__pycache__"} & set(path.parts)
            if (
                path.is_file()
                and not built
                and path.suffix in (".py", ".js", ".css", ".html", ".md", ".sh", "")
            ):
                yield path
