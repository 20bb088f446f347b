"""The links by which enrollment tokens reach a device, typed or as a QR code. Pure."""

import re
from collections.abc import Collection

from admit.accounts.apps import App
from admit.accounts.origins import parse_origin
from admit.errors import Conflict, InvalidRequest

PLACE = "{token}"
FRAGMENT = f"#enrollment_token={PLACE}"
LINK_CHARACTERS_MAX = 500

_LINK = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([/?#].*)?")  # RFC 3986 §3, always hierarchical
_CHARACTERS = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~{}]+")  # RFC 3986 §2, and the place
_WEB = ("https", "http")
_NO_APP_SCHEMES = """
    about admin blob browser chrome chrome-extension cid content data dict edge feed file filesystem ftp ftps
    gopher imap intent jar javascript jdbc ldap ldaps livescript mailto market mid mocha moz-extension
    ms-appinstaller ms-its ms-msdt news nntp pop resource rtsp search-ms sftp shell sip sips sms smb ssh
    steam tel telnet urn vbscript view-source wais ws wss xmpp
    """
NO_APPS = frozenset(_NO_APP_SCHEMES.split())
"""Schemes that run a script, open a file, or lead to something else than an app of the operator's own."""


def check_link(link: str, origins: Collection[str]) -> str:
    """Returns `link`, where an app that these origins may call can have it. "" stands for our own.

    It is an absolute URL in which `{token}` stands once, behind the host: on a page of one of `origins`, or
    in an app by its own scheme (RFC 8252 §7.1). Raises InvalidRequest with a sentence.
    """
    if not link:
        return link
    if len(link) > LINK_CHARACTERS_MAX or not _CHARACTERS.fullmatch(link):
        raise _unfit(f"is at most {LINK_CHARACTERS_MAX} characters that may stand in a URL")
    parts = _LINK.fullmatch(link)
    if parts is None:
        raise _unfit("is an absolute URL")
    if link.count(PLACE) != 1 or PLACE not in (parts[3] or "") or set("{}") & set(link.replace(PLACE, "")):
        raise _unfit(f"has {PLACE} once, behind the host")
    scheme = parts[1].lower()
    if scheme in NO_APPS:
        raise _unfit(f"leads to a page or an app of yours, and {scheme}: to neither")
    if scheme in _WEB and _origin_of(link) not in origins:
        raise _unfit("leads to an origin of the app (admit origin add), which this one does not")
    return link


def template_of(app: App, database_url: str) -> str:
    """The link to `app` with `{token}` in it: what the operator has chosen, else to its page, else to us.

    What follows the # reaches no server and no log of one, so that is where the token stands in our own
    form. Raises Conflict where the operator's link leads to an origin that the app has given up since.
    """
    try:
        chosen = check_link(app.settings.enrollment_link, app.origins)
    except InvalidRequest as error:
        raise Conflict(f"{error.message} (admit setting set).", code="enrollment_link_unusable") from None
    return chosen or _usual(app, database_url)


def _usual(app: App, database_url: str) -> str:
    pages = sorted((each for each in app.origins if each.partition("://")[0] in _WEB), key=_preference)
    return f"{pages[0]}/{FRAGMENT}" if pages else database_url + FRAGMENT


def _preference(origin: str) -> tuple[int, str]:
    """https before http, which only pages of a machine under development have."""
    return _WEB.index(origin.partition("://")[0]), origin


def _origin_of(link: str) -> str:
    """The origin of a web link; "" for one with a user name, and for what is no host."""
    scheme, _, rest = link.partition("://")
    try:
        return parse_origin(f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}", force=True)
    except InvalidRequest:
        return ""


def _unfit(rule: str) -> InvalidRequest:
    return InvalidRequest(f"The enrollment_link {rule}, such as https://app.example.com/{FRAGMENT}.")
