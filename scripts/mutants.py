"""Takes each protection of docs/security.md away and sees the test that guards it fail.

    python -m scripts.mutants [WORD…]

Words choose the attacks whose names contain one of them. Each change is made in a copy of the repository.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "security.md"
COPIED = ("src", "tests", "bench", "examples", "scripts", "docs", "pyproject.toml", "uv.lock", "Makefile")
AT_ONCE = 2
TEST_SECONDS_MAX = 120

ATTACK = re.compile(r"^### (.+)$", re.MULTILINE)
PROTECTION = re.compile(
    r"^`(?P<test>tests/[\w/]+\.py::\w+)` fails with\n\n"
    r"```diff\n--- (?P<file>src/[\w/.]+)\n-(?P<line>.+)\n(?:\+(?P<instead>.*)\n)?```$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Protection:
    """One line of code that holds against an attack, and the test that sees it missing."""

    attack: str
    test: str
    file: str
    line: str
    instead: str | None

    def places(self, root: Path) -> int:
        """How often the line stands in its file; 1 if the page is current."""
        return (root / self.file).read_text().splitlines().count(self.line)

    def take_away(self, root: Path) -> None:
        """Makes the change in the copy at `root`."""
        path = root / self.file
        lines = path.read_text().splitlines()
        place = lines.index(self.line)
        lines[place : place + 1] = [] if self.instead is None else [self.instead]
        path.write_text("\n".join(lines) + "\n")


def protections(page: str) -> dict[str, list[Protection]]:
    """What the page tells of each attack, in its order."""
    _, *parts = ATTACK.split(page)
    return {
        attack: [
            Protection(attack, found["test"], found["file"], found["line"], found["instead"])
            for found in PROTECTION.finditer(text)
        ]
        for attack, text in zip(parts[::2], parts[1::2], strict=True)
    }


def main(words: Sequence[str]) -> int:
    chosen = [
        each
        for attack, found in protections(PAGE.read_text()).items()
        for each in found
        if not words or any(word.lower() in attack.lower() for word in words)
    ]
    gone = [each for each in chosen if each.places(ROOT) != 1]
    for each in gone:
        print(f"{each.file} has not exactly one line: {each.line}", file=sys.stderr)
    if gone:
        return 1
    tests = sorted({each.test for each in chosen})
    print(f"{len(chosen)} protections, {len(tests)} tests. First all tests with every protection in place…")
    with _copies(AT_ONCE) as copies, ThreadPoolExecutor(AT_ONCE) as workers:
        if _run(ROOT, tests) != 0:
            print("They do not pass as the code is. Repair that first.", file=sys.stderr)
            return 1
        survived = [each for each in workers.map(lambda one: _survives(one, copies), chosen) if each]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} changes were noticed.")
    return 1 if survived else 0


@contextmanager
def _copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Copies of the repository, to be taken and put back."""
    with tempfile.TemporaryDirectory(prefix="admit-mutants-") as folder:
        queue: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = Path(folder) / str(number)
            copy.mkdir()
            for name in COPIED:
                _copy(ROOT / name, copy / name)
            queue.put(copy)
        yield queue


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _survives(one: Protection, copies: SimpleQueue[Path]) -> bool:
    """True when nobody noticed that the protection is gone."""
    copy = copies.get()
    original = (copy / one.file).read_text()
    try:
        one.take_away(copy)
        status = _run(copy, [one.test])
    finally:
        (copy / one.file).write_text(original)
        copies.put(copy)
    noticed = status == 1  # 1: tests failed. Anything else means that they did not run.
    told = "noticed " if noticed else "SURVIVED" if status == 0 else f"exit {status:>2}"
    print(f"{told}  {one.attack}: {one.test}", flush=True)
    return not noticed


def _run(root: Path, tests: Sequence[str]) -> int:
    """pytest's exit status for `tests` with the code at `root`, also in the processes that they start."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(  # noqa: S603  (our own interpreter, our own page)
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=TEST_SECONDS_MAX,
        ).returncode
    except subprocess.TimeoutExpired:
        return 1  # a test that waits for ever has noticed too


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
