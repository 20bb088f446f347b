"""The mail with the code: it arrives readable, whatever an operator wrote or an app is called."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from admit.accounts.app_settings import MailTemplates
from admit.signin.templates import DEFAULT, Part, Variables, problem_of, render

CANARY = "73519264"


def variables(**changes: str) -> Variables:
    values = {"otp": CANARY, "origin_name": "notes", "email": "bob@example.com"} | changes
    return Variables(minutes=15, **values)


def templates(*, subject: str = "", text: str = "", html: str = "") -> MailTemplates:
    return MailTemplates(subject=subject, text=text, html=html)


def test_our_own_mail_says_app_code_minutes_and_what_to_do_if_nobody_asked() -> None:
    mail = render(None, variables(), app_id="app_1")
    assert mail.subject == f"{CANARY} is your code for notes"
    for words in (mail.text, mail.html):
        for needed in ("notes", CANARY, "15 minutes", "If you did not ask", "bob@example.com"):
            assert needed in words


@pytest.mark.parametrize("part", ["subject", "text", "html"])
def test_our_own_templates_pass_the_rules_for_operators(part: Part) -> None:
    assert problem_of(part, getattr(DEFAULT, part)) is None
    assert problem_of(part, "") is None


def test_an_app_may_bring_some_parts_and_leave_the_others_to_us() -> None:
    mail = render(templates(text="{{ originName }}: {{ otp }}\n"), variables(), app_id="app_1")
    assert mail.text == f"notes: {CANARY}\n"
    assert "<!doctype html>" in mail.html


def test_html_is_escaped_and_text_is_not() -> None:
    mail = render(None, variables(origin_name="<script>alert(1)</script>"), app_id="app_1")
    assert "<script>" in mail.text
    assert "<script>" not in mail.html


@given(st.text(), st.text())
def test_nothing_breaks_out_of_the_subject(name: str, template: str) -> None:
    mail = render(templates(subject=template), variables(origin_name=name), app_id="app_1")
    assert mail.subject == " ".join(mail.subject.split())
    assert not any(ord(each) < 32 or each in "\x7f\x85\u2028\u2029" for each in mail.subject)
    assert len(mail.subject) <= 200
    mail.subject.encode()


@pytest.mark.parametrize(
    "source",
    [
        "{{ otp ~ otp }}",
        "{{ otp",
        "{% if otp %}{{ otp }}",
        "no code at all",
        "{{ otp }} {{ nobody }}",
        "{{ otp }} {{ self }}",
        "{{ otp.__class__.__mro__ }}",
        "{{ otp['x'] }}",
        "{{ otp() }}",
        "{{ otp * 1000000000 }}",
        "{{ '%999999999d' % minutes }} {{ otp }}",
        "{{ otp|center(999999999) }}",
        "{{ otp|attr('x') }}",
        "{{ [otp] }}",
        "{% for i in range(9) %}{{ otp }}{% endfor %}",
        "{% set x = otp %}{{ otp }}",
        "{% macro x() %}{% endmacro %}{{ otp }}",
        "{% include 'x' %}{{ otp }}",
        "{% extends 'x' %}{{ otp }}",
        "{% if otp > 3 %}{% endif %}{{ otp }}",
        "{% if minutes > 99 %}{{ otp }}{% endif %}",
        "{{ " + "(" * 2_000 + "otp" + ")" * 2_000 + " }}",
        "{% if otp %}" * 300 + "{{ otp }}" + "{% endif %}" * 300,
        "{{ otp }}" + "x" * 50_000,
        "{{ otp }}" + "{{ email }}" * 4_000,
    ],
)
def test_an_unusable_template_gives_way_to_ours_and_the_log_keeps_the_code_secret(source: str) -> None:
    began = time.process_time()
    with capture_logs() as lines:
        mail = render(templates(text=source, html=source), variables(), app_id="app_1")
    assert time.process_time() - began < 2
    assert mail == render(None, variables(), app_id="app_1")
    assert {line["event"] for line in lines} == {"mail.template_unusable"}
    assert CANARY not in str(lines)


@given(st.text(alphabet="{}%|() otpifendcl\n'\"<>&;=0", max_size=200))
def test_whatever_an_operator_writes_the_person_gets_the_code(source: str) -> None:
    mail = render(templates(subject=source, text=source, html=source), variables(), app_id="app_1")
    assert CANARY in mail.text
    assert CANARY in mail.html


def test_a_mail_does_not_outgrow_its_job() -> None:
    long, source = variables(origin_name="n" * 500), "{{ otp }}" + "{{ originName }}" * 150
    mail = render(templates(text=source), long, app_id="app_1")
    assert mail.text == render(None, long, app_id="app_1").text


def test_conditions_and_filters_are_there() -> None:
    source = "{% if minutes == 1 %}a minute{% else %}{{ minutes }} minutes{% endif %}: {{ otp|trim }}"
    mail = render(templates(text=source), variables(), app_id="app_1")
    assert mail.text == f"15 minutes: {CANARY}"
