"""/apps/APP/sign-in/mail-texts: the words of the mail that carries a code, and how they will look."""

from typing import get_args

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.signin.templates import Part, Rendered
from admit.signin.trial_mails import Sent
from admit.web.admin_mail_api import NewTemplates, TemplatesView, TestMail
from admit.web.manager import seen
from admit.web.manager.guards import PAGE_HEADERS
from admit.web.manager.mail import tried
from admit.web.manager.pages import Page, page
from admit.web.manager.ways_in import tabs

TAB = "Mail texts"
TEMPLATE = "mail_texts.html"
PARTS: tuple[Part, ...] = get_args(Part)

_MAY_FRAME = PAGE_HEADERS["Content-Security-Policy"] + "; frame-src 'self'"
# The HTML of a mail is a document of its own, without scripts, with nothing from outside, and an origin of
# its own; only our editor may frame it.
_FRAMED = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Frame-Options": "SAMEORIGIN",
}
_NOTHING = "<!doctype html><html lang=en><title>No preview</title><p>What is wrong is told above.</p></html>"


async def show(page: Page) -> Response:
    """The words in force, and how they look."""
    return await _page(page)


async def save(page: Page) -> Response:
    """Puts the words in force."""
    try:
        seen.refuse_stale(page.form, await page.get("/apps/{app}/templates", TemplatesView))
        await page.send("PUT", "/apps/{app}/templates", TemplatesView, NewTemplates(**await _given(page)))
    except (InvalidRequest, Conflict) as error:
        return await _page(page, typed=_typed(page), refused=error)
    return page.done(page.here("sign-in", "mail-texts"), "The words are saved. The next mail has them.")


async def reset(page: Page) -> Response:
    """Puts our own words in force again."""
    await page.send("DELETE", "/apps/{app}/templates", TemplatesView)
    return page.done(page.here("sign-in", "mail-texts"), "Mails have the words that Admit comes with.")


async def preview(page: Page) -> Response:
    """The subject and the text that the typed words make, for htmx; without it, the whole page with them."""
    rendered, problem = await _rendered(page, NewTemplates(**_typed(page)))
    if page.wants_fragment:
        return page.render_block(TEMPLATE, "words", rendered=rendered, problem=problem)
    return await _page(page, typed=_typed(page))


async def frame(page: Page) -> Response:
    """The HTML of the mail, for the frame of the editor: of the words in force, or of those typed."""
    words = NewTemplates(**_typed(page)) if page.request.method == "POST" else NewTemplates()
    rendered, _ = await _rendered(page, words)
    html = _NOTHING if rendered is None else rendered.html
    return Response(html, media_type="text/html", headers=_FRAMED)


async def test(page: Page) -> Response:
    """Sends the typed words to an address; they are not kept."""
    to = page.form.text("to")
    sent = await tried(page, TestMail(to=to, **_typed(page)))
    if page.wants_fragment:
        return page.render_block("mail.html", "result", sent=sent, to=to)
    return await _page(page, typed=_typed(page), to=to, sent=sent)


async def _page(
    page: Page,
    *,
    typed: dict[str, str] | None = None,
    refused: AdmitError | None = None,
    to: str | None = None,
    sent: Sent | None = None,
) -> Response:
    words = await page.get("/apps/{app}/templates", TemplatesView)
    shown = typed or {part: getattr(words, part) for part in PARTS}
    rendered, problem = await _rendered(page, NewTemplates(**shown))
    response = page.render(
        TEMPLATE,
        status=page.status_of(refused),
        tabs=tabs(page),
        tab=TAB,
        own=words.own,
        seen=seen.mark(words),
        shown=shown,
        rendered=rendered,
        problem=problem,
        refused="" if refused is None else refused.message,
        wrong=_part_of(refused.message) if refused is not None else "",
        to=page.signed_in.operator.email if to is None else to,
        sent=sent,
    )
    response.headers["Content-Security-Policy"] = _MAY_FRAME
    return response


async def _rendered(page: Page, words: NewTemplates) -> tuple[Rendered | None, str]:
    """What a mail with these words would say, or why there can be none."""
    try:
        return await page.send("POST", "/apps/{app}/templates/preview", Rendered, words), ""
    except InvalidRequest as error:
        return None, error.message


def _typed(page: Page) -> dict[str, str]:
    """The words of the form. An empty part is ours."""
    return {part: page.form.verbatim(part) for part in PARTS}


async def _given(page: Page) -> dict[str, str]:
    """The words of the form that are to be the app's own: what says the same as ours stays ours, and follows
    ours when they change."""
    words = await page.get("/apps/{app}/templates", TemplatesView)
    typed = _typed(page)
    untouched = {part for part in PARTS if part not in words.own and typed[part] == getattr(words, part)}
    return {part: text for part, text in typed.items() if part not in untouched}


def _part_of(sentence: str) -> str:
    """Which part a refusal is about; "": it does not say."""
    return next((part for part in PARTS if f"The {part} template" in sentence), "")


PAGES = (
    page("GET", "/apps/{app}/sign-in/mail-texts", show, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail-texts", save, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail-texts/reset", reset, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail-texts/preview", preview, nav="sign-in"),
    page("GET", "/apps/{app}/sign-in/mail-texts/frame", frame, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail-texts/frame", frame, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/mail-texts/test", test, nav="sign-in"),
)
