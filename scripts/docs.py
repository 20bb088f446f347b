"""Writes the pages of docs/ that are made from the code: settings, commands, events and tasks.

    python -m scripts.docs [--check]

--check writes nothing and fails when a page is not current.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from admit import config
from admit.config import SETTINGS, Setting, Settings
from scripts import command_docs, event_docs, task_docs

DOCS = Path(__file__).resolve().parent.parent / "docs"
SETTINGS_START = """# Settings

Settings are environment variables, or lines of the TOML file that `ADMIT_CONFIG` names, where they stand
without `ADMIT_` and in small letters (`port = 8080`); the environment wins. A wrong value stops the start:
the complaint names the setting, says what is wrong and gives an example. So does a name that is no setting;
a misspelt one is never silently ignored.

Secrets can come from files, as container platforms mount them, for example
`ADMIT_SECRET_KEY_FILE=/run/secrets/admit-key`. Each setting says whether it can.
"""
MADE = "<!-- Made from the code by `make docs`. Change the docstrings there. -->\n"


def main() -> int:
    pages = {
        "settings.md": settings_page(),
        "commands.md": command_docs.page(),
        "events.md": f"{MADE}\n{event_docs.page()}",
        "tasks.md": f"{MADE}\n{task_docs.page()}",
    }
    stale = [
        name
        for name, text in pages.items()
        if not (DOCS / name).exists() or (DOCS / name).read_text() != text
    ]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/{name} is not current. Run `make docs`.", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages[name])
        print(f"Wrote docs/{name}")
    return 0


def settings_page() -> str:
    """One section for each setting, in the order of the code."""
    told = dict(_attribute_docstrings(Settings))
    sections = "\n".join(_setting(setting, told[setting.name]) for setting in SETTINGS)
    return f"{MADE}\n{SETTINGS_START}\n{sections}"


def _setting(setting: Setting, told: str) -> str:
    default = f"`{setting.default}`" if setting.default else "none"
    lines = [
        f"## `{setting.variable}`\n",
        inspect.cleandoc(told).replace("<", "\\<") + "\n",
        f"- default: {default}",
        f"- example: `{setting.variable}={setting.example}`",
    ]
    if setting.secret:
        lines.append(f"- from a file: `{setting.variable}_FILE`")
    return "\n".join(lines) + "\n"


def _attribute_docstrings(owner: type) -> Iterator[tuple[str, str]]:
    """Pairs of field and the string that stands under it, which Python itself forgets."""
    tree = ast.parse(inspect.getsource(config))
    [node] = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == owner.__name__]
    for field, below in zip(node.body, node.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


if __name__ == "__main__":
    sys.exit(main())
