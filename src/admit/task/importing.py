"""Imports the code of an app from memory: all of it is of one version, whatever becomes of the folder.

Tracebacks show the lines of that version, too.
"""

import importlib
import linecache
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, cast

from admit.task.wire import Source

PACKAGE_FILE = "__init__.py"
KEPT_NAMES = frozenset({"admit", "msgspec"})
"""Beside those of Python itself: names of modules that a file would hide from whoever needs them."""


class Sources:
    """Finds the modules of one app in `sources`: `crm/sync.py` is the module crm.sync.

    Folders are packages, with or without a file __init__.py. It is a finder and a loader as importlib.abc has
    them, but not a subclass: that module takes longer to import than all of this one's work.
    """

    def __init__(self, folder: str, sources: Sequence[Source]) -> None:
        self.folder = folder.rstrip("/")
        self._texts: dict[str, bytes] = {}  # by the name of the module
        self._paths: dict[str, str] = {}
        self._packages: set[str] = set()
        for source in sources:
            parts = source.path.removesuffix(".py").split("/")
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self._texts[name] = source.text
            self._paths[name] = source.path
            folders = parts[:-1]
            self._packages |= {".".join(folders[:depth]) for depth in range(1, len(folders) + 1)}
        self._packages -= {""}

    @property
    def modules(self) -> Iterator[tuple[str, str]]:
        """What is to be imported by itself: the names of modules, with their paths."""
        for name, path in sorted(self._paths.items(), key=lambda pair: pair[1]):
            file = path.rpartition("/")[2]
            is_test = file == "conftest.py" or file.startswith("test_") or file.endswith("_test.py")
            if name and not is_test and not file.startswith("_") and "/_" not in f"/{path}":
                yield name, path

    def install(self) -> None:
        """From now on `import` finds the modules, before any that is installed under the same name."""
        for name, path in self._paths.items():
            lines = self._text_of(name).splitlines(keepends=True)
            filename = f"{self.folder}/{path}"
            linecache.cache[filename] = (len(self._texts[name]), None, lines, filename)
        sys.meta_path.insert(0, cast(Any, self))

    def own(self) -> list[tuple[str, ModuleType]]:
        """The modules that were imported, in the order of their names."""
        return [(name, sys.modules[name]) for name in sorted(self._texts) if name in sys.modules]

    # What import asks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_package = fullname in self._packages
        if not is_package and fullname not in self._texts:
            return None
        spec = ModuleSpec(
            fullname, cast(Any, self), origin=self.get_filename(fullname), is_package=is_package
        )
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [f"{self.folder}/{fullname.replace('.', '/')}"]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Nothing unusual."""

    def exec_module(self, module: ModuleType) -> None:
        code = self.get_code(module.__name__)
        exec(code, module.__dict__)  # noqa: S102  (what importing means)

    def get_code(self, fullname: str) -> CodeType:
        text = self._texts.get(fullname, b"")
        return compile(text, self.get_filename(fullname), "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str:
        return self._text_of(fullname)

    def get_filename(self, fullname: str) -> str:
        """The path that tracebacks show."""
        path = self._paths.get(fullname) or f"{fullname.replace('.', '/')}/{PACKAGE_FILE}"
        return f"{self.folder}/{path}"

    def is_package(self, fullname: str) -> bool:
        return fullname in self._packages

    def _text_of(self, name: str) -> str:
        return self._texts.get(name, b"").decode("utf-8", "replace")


def import_module(name: str) -> None:
    """Imports one of them."""
    importlib.import_module(name)
