"""Drafts the next migration from the tables that the rooms declare: python -m tests.draft_migration NAME.

Read it before you commit it: expand first, contract in a later release.
"""

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.migration import MigrationContext
from alembic.operations.ops import UpgradeOps

import admit
from admit.storage.migrate import FOLDER, migrate, pending
from admit.storage.schema import metadata

HEAD = '''"""{name}"""

import sqlalchemy as sa
from alembic import op

revision = "{number}"
down_revision = {former}

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
'''


def import_every_table() -> None:
    """Imports every module that declares tables, so that `metadata` knows them all."""
    root = Path(*admit.__path__)
    for path in sorted(root.rglob("*.py")):
        if " = Table(" in path.read_text():
            importlib.import_module(".".join(["admit", *path.relative_to(root).with_suffix("").parts]))


def draft(name: str) -> Path:
    """Writes the next migration and returns its path."""
    import_every_table()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/admit.db"
        numbers = pending(url)
        migrate(url) if numbers else Path(f"{folder}/admit.db").touch()
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            changes = produce_migrations(context, metadata).upgrade_ops
        engine.dispose()
    if changes is None or changes.is_empty():
        raise SystemExit("The migrations already make every table as it is declared.")
    number = f"{int(numbers[-1]) + 1 if numbers else 1:04}"
    former = f'"{numbers[-1]}"' if numbers else None
    path = FOLDER / f"m{number}_{name.replace(' ', '_')}.py"
    text = HEAD.format(name=name[0].upper() + name[1:] + ".", number=number, former=former)
    path.write_text(text + "    " + _render(changes) + "\n")
    return path


def _render(changes: UpgradeOps) -> str:
    code: str = render_python_code(changes, render_item=_render_item, render_as_batch=False)
    return "\n".join(line for line in code.splitlines() if "# ###" not in line).strip()


def _render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    return "TEXT" if kind == "type" and isinstance(item, sqlalchemy.Text) else False


if __name__ == "__main__":
    print(draft(" ".join(sys.argv[1:])))
