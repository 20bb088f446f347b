"""Templates, and the words and marks that all of them may use."""

import contextlib
import re
import shlex
import threading
import time
from collections.abc import Mapping
from typing import Any

import jinja2
import msgspec
from jinja2.runtime import Context
from markupsafe import Markup, escape

from admit.web.manager import words
from admit.web.manager.assets import Assets

READING_REST_SECONDS = 0.01
"""Between two templates, so that requests have the interpreter."""
JSON_INDENT = 2
# What strangers have stored, or answered, is shown on pages too: a megabyte of brackets would grow to a
# gigabyte of spaces, and marks around each number of a list take seconds.
PRETTY_BYTES_MAX = 200_000
PRETTY_DEPTH_MAX = 50
MARKED_CHARACTERS_MAX = 30_000

_JSON_PARTS = re.compile(
    r'("(?:[^"\\]|\\.)*")(\s*:)?|(\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)'
)
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_STEPS = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


class Renderer:
    """All templates, each read and compiled once, which takes some 10 ms."""

    def __init__(self, assets: Assets) -> None:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("admit.web.manager"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "moment": jinja2.pass_context(_moment),
            "ago": jinja2.pass_context(_ago),
            "full_time": words.full_time,
            "day": words.day,
            "number": words.number,
            "duration": words.duration,
            "size": words.size,
            "counted": words.counted,
            "pretty_json": pretty_json,
            "json_marks": json_marks,
        }
        environment.globals |= {"asset": assets.address, "shell_words": shell_words}
        # Every template, and every block that is rendered alone, has the parts at hand without an import.
        environment.globals["part"] = environment.get_template("parts.html").module
        self._environment = environment
        self._others_read = False
        self.asset = assets.address

    def page(self, template: str, values: Mapping[str, Any]) -> str:
        """A whole page. Behind the first one all other templates are read: its operator goes on to them."""
        html = self._environment.get_template(template).render(values)
        if not self._others_read:
            self._others_read = True
            threading.Thread(target=self._read_all, name="admit-templates", daemon=True).start()
        return html

    def block(self, template: str, block: str, values: Mapping[str, Any]) -> str:
        """One block of a template, as htmx puts it in place of what is there."""
        found = self._environment.get_template(template)
        return "".join(found.blocks[block](found.new_context(dict(values))))

    def _read_all(self) -> None:
        for name in self._environment.list_templates():
            self._environment.get_template(name)
            time.sleep(READING_REST_SECONDS)


def shell_words(*given: object) -> str:
    """A command as it is typed. None and False stand for words that are left out."""
    return shlex.join(str(each) for each in given if each is not None and each is not False)


def pretty_json(value: object) -> str:
    """JSON on several lines. `value`: JSON text, bytes, `msgspec.Raw`, or what can be written as JSON.

    What is no JSON, very long or nested very deeply stays as it came.
    """
    if isinstance(value, str | bytes | msgspec.Raw):
        raw = value.encode() if isinstance(value, str) else bytes(value)
    else:
        raw = msgspec.json.encode(value)
    if len(raw) <= PRETTY_BYTES_MAX and _depth(raw) <= PRETTY_DEPTH_MAX:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.format(raw, indent=JSON_INDENT).decode(errors="replace")
    return raw.decode(errors="replace")


def json_marks(value: object) -> Markup:
    """JSON on several lines, its names, texts and values marked for the stylesheet unless it is long."""
    text = pretty_json(value)
    return _marked(text) if len(text) <= MARKED_CHARACTERS_MAX else escape(text)


def _depth(raw: bytes) -> int:
    """How deeply JSON is nested. Each line of it is led by as many spaces, and the parser has a stack."""
    depth = deepest = 0
    for found in _NESTING.finditer(raw):
        depth += _STEPS.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _marked(text: str) -> Markup:
    out, at = [], 0
    for found in _JSON_PARTS.finditer(text):
        string, colon, other = found.groups()
        kind = "n" if other else "k" if colon else "s"
        before, what = escape(text[at : found.start()]), escape(string or other)
        out.append(f'{before}<span class="{kind}">{what}</span>{colon or ""}')
        at = found.end()
    out.append(escape(text[at:]))
    return Markup("".join(out))  # noqa: S704  (every piece of it is escaped)


def _moment(context: Context, ms: int) -> Markup:
    return words.moment(ms, context["page"].now)


def _ago(context: Context, ms: int) -> Markup:
    return words.ago(ms, context["page"].now)
