"""Templates of Dexie Cloud in our spelling."""

import pytest

from admit.errors import InvalidRequest
from admit.signin.handlebars import to_jinja
from admit.signin.templates import ACTING, CONNECTING, DEFAULT


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("{{otp}} for {{ originName }}", "{{otp}} for {{ originName }}"),
        ("{{{otp}}}", "{{ otp }}"),
        ("{{&otp}}", "{{ otp }}"),
        ("{{#if email}}a{{else}}b{{/if}}", "{% if email %}a{% else %}b{% endif %}"),
        (
            "{{#if email}}a{{else if otp}}b{{/if}}",
            "{% if email %}a{% elif otp %}b{% endif %}",
        ),
        ("{{#unless email}}a{{/unless}}", "{% if not email %}a{% endif %}"),
        ("a {{~#if email~}} b {{~/if}}", "a {%- if email -%} b {%- endif %}"),
        ("a{{! otp }}b{{!-- {{otp}} --}}c", "abc"),
    ],
)
def test_what_handlebars_says_is_said_in_jinja(theirs: str, ours: str) -> None:
    assert to_jinja(theirs) == ours


@pytest.mark.parametrize("words", [*map(str, (DEFAULT.text, DEFAULT.html, ACTING.html, CONNECTING.text))])
def test_a_template_in_our_spelling_stays_as_it_is(words: str) -> None:
    assert to_jinja(words) == words
    assert to_jinja("{% if otp %}{{ otp|upper }}{% endif %}") == "{% if otp %}{{ otp|upper }}{% endif %}"


@pytest.mark.parametrize("block", ["{{#each names}}", "{{/each}}", "{{> footer}}", "{{^otp}}", "{{#if a.b}}"])
def test_other_blocks_are_refused_by_name(block: str) -> None:
    with pytest.raises(InvalidRequest, match="Of the blocks of Handlebars there are #if, else and #unless"):
        to_jinja(f"{{{{otp}}}} {block}")
