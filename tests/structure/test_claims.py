"""docs/compat.md and docs/security.md claim things; each claim names a test that exists."""

import ast
import re

from scripts.mutants import protections

from tests.structure.source import ROOT, page

STATES = ("kept", "ours", "later", "not")
CELL = re.compile(r"(?<!\\)\|")
TEST = re.compile(r"tests/[\w/]+\.py::\w+")


def test_every_clause_of_the_contract_has_a_state_and_its_tests() -> None:
    wrong = []
    for clause, state, _choice, tests in _rows(page("compat.md")):
        if state not in STATES:
            wrong.append(f"{clause}: {state!r} is none of {STATES}")
        elif state in ("kept", "ours") and not TEST.search(tests):
            wrong.append(f"{clause}: is {state} and names no test")
    assert not wrong, "\n".join(wrong)


def test_every_test_that_compat_names_exists() -> None:
    named = TEST.findall(page("compat.md"))
    assert named
    assert [test for test in named if not _exists(test)] == []


def test_every_attack_has_a_protection_whose_loss_a_test_would_notice() -> None:
    attacks = protections(page("security.md"))
    assert attacks
    assert [attack for attack, found in attacks.items() if not found] == []


def test_every_block_of_the_security_page_was_understood() -> None:
    text = page("security.md")
    assert text.count("```diff") == sum(map(len, protections(text).values()))


def test_every_test_that_security_names_exists() -> None:
    assert [test for test in TEST.findall(page("security.md")) if not _exists(test)] == []


def test_every_quoted_line_stands_once_in_its_file() -> None:
    """`make mutants` takes each of them away; a line that has moved on would protect nothing unseen."""
    quoted = [each for found in protections(page("security.md")).values() for each in found]
    assert {f"{each.file}: {each.line}": count for each in quoted if (count := each.places(ROOT)) != 1} == {}


def _rows(text: str) -> list[list[str]]:
    """The rows of all tables with four columns, without their heads."""
    cells = [
        [cell.strip() for cell in CELL.split(line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|") and not line.startswith("|-")
    ]
    return [row for row in cells if len(row) == 4 and row[0] != "clause"]


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    return path.exists() and any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        for node in ast.walk(ast.parse(path.read_text()))
    )
