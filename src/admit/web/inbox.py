"""/inbox: the mails of `MAIL_URL=inbox:`, for whoever develops on this machine, and for nobody else."""

import mimetypes
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admit.config import is_loopback
from admit.errors import Forbidden, NotFound
from admit.gateway import Gateway
from admit.outbound.mail import InboxMailer, ReceivedMail
from admit.web.errors import MethodNotAllowed
from admit.web.paths import Endpoint

MAILS_SHOWN_MAX = 20

_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A mail is a stranger's document: no scripts, nothing from outside, an origin of its own.
_MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_STATIC = ("inbox.css", "inbox.js")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class ShownMail(msgspec.Struct, frozen=True):
    """A mail as the page shows it."""

    key: str
    to: str
    subject: str
    code: str
    text: str
    has_html: bool
    time: str
    moment: str


def endpoints(gateway: Gateway) -> list[tuple[str, Endpoint]]:
    """The pages; none unless the mailer is the inbox and only this machine can reach the server."""
    mailer = gateway.mailer
    if not isinstance(mailer, InboxMailer) or not gateway.settings.on_loopback:
        return []
    return [
        ("/inbox", Local(lambda _request: _page(mailer))),
        ("/inbox/newest", Local(lambda _request: _newest(mailer))),
        ("/inbox/mails/{key}", Local(lambda request: _mail(mailer, request))),
        *((f"/inbox/{name}", Local(_static(name))) for name in _STATIC),
    ]


class Local:
    """A page for browsers on this machine that asked for this machine.

    The Host header stops web pages of elsewhere whose name was rebound to 127.0.0.1; forwarding headers
    betray a proxy that makes strangers look like neighbours.
    """

    def __init__(self, page: Callable[[Request], Response]) -> None:
        self._page = page

    async def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD")
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        forwarded = any(header in request.headers for header in _FORWARDED)
        if forwarded or not is_loopback(request.scope["peer"]) or not is_loopback(name):
            raise Forbidden("The inbox is shown on this machine only, at http://localhost.")
        return self._page(request)


def _page(mailer: InboxMailer) -> Response:
    newest = [_shown(key, each) for key, each in _newest_first(mailer)[:MAILS_SHOWN_MAX]]
    html = _template().render(mails=newest, newest=_newest_key(mailer))
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})


def _newest(mailer: InboxMailer) -> Response:
    """The key of the newest mail: when it is another, the page loads itself again."""
    return Response(_newest_key(mailer), media_type="text/plain")


def _mail(mailer: InboxMailer, request: Request) -> Response:
    found = dict(_newest_first(mailer)).get(request.path_params["key"])
    if found is None or not found.mail.html:
        raise NotFound("There is no such mail any more.")
    return Response(
        found.mail.html, media_type="text/html", headers={"Content-Security-Policy": _MAIL_POLICY}
    )


def _static(name: str) -> Callable[[Request], Response]:
    content = files("admit.web").joinpath("static", name).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return lambda _request: Response(content, media_type=kind)


def _newest_first(mailer: InboxMailer) -> list[tuple[str, ReceivedMail]]:
    """The mails, each with a key that stays its own: when it came, and which it was of that millisecond."""
    alike: Counter[int] = Counter()
    keyed = []
    for received in mailer.mails:
        alike[received.received_at] += 1
        keyed.append((f"{received.received_at}-{alike[received.received_at]}", received))
    return keyed[::-1]


def _newest_key(mailer: InboxMailer) -> str:
    return next((key for key, _ in _newest_first(mailer)), "")


def _shown(key: str, received: ReceivedMail) -> ShownMail:
    at = datetime.fromtimestamp(received.received_at / 1000, UTC)
    mail = received.mail
    return ShownMail(
        key=key,
        to=mail.to,
        subject=mail.subject,
        code=mail.otp,
        text=mail.text,
        has_html=bool(mail.html),
        time=f"{at:%H:%M:%S}",
        moment=f"{at:%Y-%m-%dT%H:%M:%SZ}",
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("admit.web"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("inbox.html")
