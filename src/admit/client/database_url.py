"""The database URL of an app: checked before a secret goes there, and turned into a file's name."""

import hashlib
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from admit.client.errors import WrongAddress

NAME_CHARACTERS_MAX = 80
DIGEST_CHARACTERS = 12
DEFAULT_PORTS = {"http": 80, "https": 443}

EXAMPLE = "Example: https://login.example.com/notes"
NO_URL = f"The database URL is not one of http or https. {EXAMPLE}"
MORE = f"The database URL has more than a host and a path: a password, a query or a fragment. {EXAMPLE}"
OPEN = (
    "The database URL is not https, so that everybody on the way could read the tokens. "
    "On a network that you trust, pass allow_http=True."
)


def checked(url: str, *, allow_http: bool) -> str:
    """`url` in its one form, without a slash at the end. Raises WrongAddress.

    Plain http is for this machine itself, unless it is allowed. No message repeats `url`, which may hold a
    secret.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise WrongAddress(NO_URL) from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or not url.strip().isprintable():
        raise WrongAddress(NO_URL)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise WrongAddress(MORE)
    if parts.scheme == "http" and not (allow_http or _is_this_machine(parts.hostname)):
        raise WrongAddress(OPEN)
    return _one_form(parts, port)


def file_name(url: str) -> str:
    """A name of its own for what is kept about the app at `url`, which is in its one form."""
    readable = re.sub(r"[^a-z0-9.]+", "-", url.partition("://")[2].lower())[:NAME_CHARACTERS_MAX].strip("-.")
    return f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:DIGEST_CHARACTERS]}.json"


def _one_form(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    where = f"[{host}]" if ":" in host else host
    if port is not None and port != DEFAULT_PORTS[parts.scheme]:
        where += f":{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
