"""The source of the package as the structure tests read it."""

import ast
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "admit"


@dataclass(frozen=True)
class Module:
    """One file of the package: `name` is its path inside it, such as `storage/writer.py`."""

    name: str
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def room(self) -> str:
        """The folder it lies in, or its own name for the files beside the rooms."""
        return self.name.partition("/")[0].removesuffix(".py")

    @property
    def dotted(self) -> str:
        """Its name as it is imported, such as `admit.storage.writer`."""
        return "admit." + self.name.removesuffix(".py").replace("/", ".")

    @cached_property
    def imports(self) -> dict[str, str]:
        """What each name was imported as: `{"sleep": "time.sleep"}`."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        return names

    def meant(self, node: ast.expr) -> str:
        """The full name of what an expression such as `time.time` refers to; "" for anything else."""
        match node:
            case ast.Name(id=name):
                return self.imports.get(name, "")
            case ast.Attribute(value=value, attr=attribute):
                return f"{before}.{attribute}" if (before := self.meant(value)) else ""
            case _:
                return ""


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package, migrations included."""
    return tuple(
        Module(str(path.relative_to(PACKAGE)), text := path.read_text(), ast.parse(text, str(path)))
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def page(name: str) -> str:
    """The text of a page of the documentation."""
    return (ROOT / "docs" / name).read_text()
