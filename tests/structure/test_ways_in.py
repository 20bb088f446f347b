"""Nobody writes users but by the ways in that tests/contract/test_every_way_in.py goes through."""

import ast
from collections.abc import Iterator
from functools import cache

from tests.structure.source import Module, modules

USERS = "admit.accounts.tables.users"

CALLERS = {
    "admit.accounts.users.ADD_USERS": {"accounts/users.py:create"},
    "admit.accounts.users.create": {
        "accounts/user_changes.py:_create",
        "enrollment/settlements.py:_move_in",
    },
    # Somebody is at the door.
    "admit.enrollment.settlements._move_in": {"enrollment/settlements.py:settle"},
    "admit.enrollment.settlements.settle": {"enrollment/admit.py:Door._decide_and_settle"},
    # The operator's programs and files.
    "admit.accounts.user_changes._create": {"accounts/user_changes.py:carry_out"},
    "admit.accounts.user_changes.carry_out": {
        "accounts/user_changes.py:write_many",
        "enrollment/creations.py:import_users",
    },
    "admit.accounts.user_changes.write_many": {"enrollment/creations.py:write_users"},
    "admit.enrollment.creations.import_users": {"web/admin_import_api.py:_carry_out.write"},
    "admit.enrollment.creations.write_users": {
        "gateway.py:Gateway._runs",
        "web/admin_people_api.py:_write.write",
        "web/imports.py:Import._write_users.write",
        "web/users_api.py:post_users.write",
    },
}
"""What makes users, and who calls it. Whoever adds a way in gives it a test beside those of the others."""

AT_THE_DOOR = {
    "web/sso_grants.py:_admit",
    "web/token_api.py:_client_credentials",
    "web/token_api.py:_redeem_code",
}
"""Who calls `gateway.door.admit`."""


def test_users_are_made_by_the_known_ways_in_only() -> None:
    callers = {name: {place for place, meant in _spoken_of() if meant == name} for name in CALLERS}
    assert callers == CALLERS


def test_people_come_to_the_door_by_the_known_grants_only() -> None:
    places = {
        place
        for module in modules()
        for place, node in _within(module.tree, f"{module.name}:")
        if isinstance(node, ast.Attribute)
        and node.attr == "admit"
        and ast.unparse(node.value).endswith("door")
    }
    assert places == AT_THE_DOOR


def test_rows_of_users_are_inserted_in_one_place() -> None:
    places = [
        place
        for module in modules()
        for place, node in _within(module.tree, f"{module.name}:")
        if isinstance(node, ast.Call) and module.meant(node.func).endswith(".insert")
        if node.args and module.meant(node.args[0]) == USERS
    ]
    assert places == ["accounts/users.py:"]


@cache
def _spoken_of() -> frozenset[tuple[str, str]]:
    """Where each name is read, in its own module or by an import: (place, full name)."""
    return frozenset(
        (place, meant)
        for module in modules()
        for place, node in _within(module.tree, f"{module.name}:")
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)
        if (meant := module.meant(node) or _own(module, node))
    )


def _own(module: Module, node: ast.Name | ast.Attribute) -> str:
    return f"{module.dotted}.{node.id}" if isinstance(node, ast.Name) else ""


def _within(node: ast.AST, place: str) -> Iterator[tuple[str, ast.AST]]:
    """Everything below `node`, and the functions and classes that it stands in: `module.py:outer.inner`."""
    for child in ast.iter_child_nodes(node):
        inside = place
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = place + child.name if place.endswith(":") else f"{place}.{child.name}"
        yield inside, child
        yield from _within(child, inside)
