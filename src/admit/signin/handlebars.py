"""Templates of Dexie Cloud, which are Handlebars, in the spelling of ours. Pure.

Variables look alike in both. Blocks and comments of Handlebars mean nothing in Jinja2, so that a template in
our own spelling comes out as it went in. https://handlebarsjs.com/guide/
"""

import re

from admit.errors import InvalidRequest

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_COMMENT = re.compile(r"\{\{~?!(?:--.*?--|.*?)~?\}\}", re.DOTALL)
_RAW = re.compile(rf"\{{\{{\{{\s*({_NAME})\s*\}}\}}\}}|\{{\{{&\s*({_NAME})\s*\}}\}}")
_TAG = re.compile(r"\{\{(~?)\s*((?:[#/^>]|else\b)[^{}]*?)\s*(~?)\}\}")
_BLOCKS = (
    (re.compile(rf"#if ({_NAME})"), r"if \1"),
    (re.compile(rf"#unless ({_NAME})"), r"if not \1"),
    (re.compile(rf"else if ({_NAME})"), r"elif \1"),
    (re.compile(r"else"), "else"),
    (re.compile(r"/(?:if|unless)"), "endif"),
)


def to_jinja(source: str) -> str:
    """The Jinja2 template that says what the Handlebars template `source` says.

    Raises InvalidRequest for blocks other than `#if` and `#unless`.
    """
    source = _COMMENT.sub("", source)
    source = _RAW.sub(lambda found: f"{{{{ {found[1] or found[2]} }}}}", source)
    return _TAG.sub(_block, source)


def _block(found: re.Match[str]) -> str:
    before, tag, behind = found.groups()
    words = " ".join(tag.split())
    for pattern, meaning in _BLOCKS:
        if match := pattern.fullmatch(words):
            return f"{{%{'-' * len(before)} {match.expand(meaning)} {'-' * len(behind)}%}}"
    raise InvalidRequest(
        f"A template uses {{{{{words[:40]}}}}}. Of the blocks of Handlebars there are #if, else and #unless."
    )
