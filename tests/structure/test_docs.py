"""Documentation is a contract: what the code can say or be told stands in docs/."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pydoc import locate
from typing import get_args

from admit import errors
from admit.accounts import session_standing
from admit.config import SETTINGS
from admit.events.catalog import TYPES
from admit.signin.providers.faults import FaultCode
from admit.web.errors import INTERNAL, STATUS, TaskFailed, status_of
from tests.structure.source import ROOT, modules, page

TOLD_AS_500 = (INTERNAL.code, TaskFailed.code)


def test_every_setting_is_documented() -> None:
    settings = page("settings.md")
    assert [setting.variable for setting in SETTINGS if f"`{setting.variable}`" not in settings] == []


def test_every_error_code_is_documented() -> None:
    errors = page("errors.md")
    assert [code for code in sorted(error_codes()) if f"`{code}`" not in errors] == []


def test_every_documented_error_code_exists() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", page("errors.md"), re.MULTILINE)
    assert set(documented) - error_codes().keys() == set()


def test_every_documented_status_is_the_one_that_is_answered() -> None:
    told = {
        code: {int(status) for status in statuses.split(", ") if status}
        for code, statuses in re.findall(r"^\| `(\w+)` \| ([\d, ]*?) ?\|", page("errors.md"), re.MULTILINE)
    }
    answered = error_codes()
    assert told.keys() == answered.keys()
    assert {code: (told[code], answered[code]) for code in told if told[code] != answered[code]} == {}


def test_every_event_type_is_documented() -> None:
    documented = re.findall(r"^#+ `([\w.]+)`", page("events.md"), re.MULTILINE)
    assert documented == list(TYPES)


def test_events_are_of_types_that_are_documented() -> None:
    """Texts in the code that look like the name of one."""
    named = {
        words
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for words in re.findall(r"^(?:user|device|session)\.[a-z_]+$", node.value)
    }
    assert named <= TYPES.keys()


def test_pages_made_from_the_code_are_current() -> None:
    """`make docs` writes them anew."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.docs", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_target_of_the_makefile_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    silent = [
        name for name in phony[1].split() if not re.search(rf"^{name}:.* ## \S", makefile, re.MULTILINE)
    ]
    assert silent == ["debian"]  # a step of others, with its own comment


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"`?make ([a-z]+)", (ROOT / "README.md").read_text())
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{source.relative_to(ROOT)}: {link}"
        for source in pages
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", source.read_text())
        if not (source.parent / link).exists()
    ]
    assert not broken, "\n".join(broken)


def test_the_lock_file_was_made_from_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    [own] = [package for package in lock["package"] if package["name"] == "admit"]
    wanted = {_name(each) for each in project["project"]["dependencies"]}
    assert {each["name"] for each in own["metadata"]["requires-dist"]} == wanted
    for group, requirements in project["dependency-groups"].items():
        locked = own["metadata"]["requires-dev"][group]
        assert {each["name"] for each in locked} == {_name(each) for each in requirements}


def error_codes() -> dict[str, set[int]]:
    """Every code that an error can carry, with the statuses that it is answered with; none: only inside.

    A code is that of a class, a constant of errors.py (a refusal), the end of a session, what is wrong with a
    provider's answer, or given where the error is raised.
    """
    codes: dict[str, set[int]] = {
        code: {STATUS[errors.Refused]} for name, code in vars(errors).items() if name.isupper()
    }
    codes |= {code: {STATUS[errors.Unauthorized]} for code in session_standing.SENTENCES}
    codes |= {code: set() for code in get_args(FaultCode)}
    for module in modules():
        constants = vars(errors) | _constants(module.tree.body)
        for node in ast.walk(module.tree):
            match node:
                case ast.ClassDef(name=name, body=body) if "code" in (own := _constants(body)):
                    _note(codes, own["code"], f"{module.dotted}.{name}")
                case ast.Call(func=function, keywords=keywords):
                    for each in keywords:
                        match each:
                            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                                _note(codes, code, module.meant(function))
                            case ast.keyword(arg="code", value=ast.Name(id=name)) if name in constants:
                                _note(codes, constants[name], module.meant(function))
    return codes


def _note(codes: dict[str, set[int]], code: str, name: str) -> None:
    """Adds what an error of the class called `name` is answered with; other classes only carry a code on."""
    found = locate(name)
    if isinstance(found, type) and issubclass(found, errors.AdmitError):
        status = status_of(errors.AdmitError.__new__(found))
        codes.setdefault(code, set()).update({status} - ({500} if code not in TOLD_AS_500 else set()))


def _constants(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The texts that are assigned in `body`, by name."""
    return {
        target.id: node.value.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert match is not None
    return match[0].lower().replace("_", "-")
