"""What the values of settings must be: each reads one text, or raises ValueError with what is wrong with it,
as "is …" without the value."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def database(text: str) -> str:
    """A database that the server can work on: `sqlite:///FILE` or `postgresql://…`."""
    if text.startswith("postgres://"):
        text = "postgresql://" + text.removeprefix("postgres://")
    if text.startswith("sqlite:") and "?" in text:
        raise ValueError("has a ?, behind which SQLite would read options. Admit opens the file as it stands")
    if text.startswith("sqlite:///") and text.removeprefix("sqlite:///") not in ("", ":memory:"):
        return text
    if text.startswith("postgresql://") and _split(text).hostname:
        return text
    if text.startswith("postgresql:///"):  # a socket: the host is in the query or is libpq's own
        return text
    raise ValueError("is neither sqlite:///FILE nor postgresql://USER@HOST/DATABASE")


def listen_database(text: str) -> str:
    """A direct way to the same PostgreSQL, or nothing."""
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("is not postgresql://USER@HOST/DATABASE")
    return text and database(text)


def public_url(text: str) -> str:
    """An address without a slash at its end, or nothing."""
    if not text:
        return ""
    url = _split(text)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("is not a whole http:// or https:// address")
    if "@" in url.netloc or url.query or url.fragment or "?" in text or "#" in text:
        raise ValueError("has a user, a query or a fragment")
    if not re.fullmatch(r"[\x21-\x7e]+", text) or "//" in url.path:
        raise ValueError("has characters that do not belong into an address")
    return f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise ValueError("is not an address") from None
    return url


def mail_url(text: str) -> str:
    """Where mails go, or nothing."""
    if text in ("", "inbox:"):
        return text
    url = _split(text)
    if (url.scheme in ("smtp", "smtps") and url.hostname) or (
        url.scheme == "file" and not url.netloc and url.path
    ):
        return text
    raise ValueError("is none of smtp://HOST, smtps://HOST, file:///PATH and inbox:")


def mail_sender(text: str) -> str:
    """A mail address, or nothing."""
    if text and (not re.fullmatch(r"[^@\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+", text)):
        raise ValueError("is not a mail address")
    return text


def networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks with commas between them."""
    found: list[Network] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError:
            raise ValueError(f"holds {part!r}, neither an address nor a network") from None
    return tuple(found)


def limits(text: str) -> str:
    """`on`, `off`, or the path of a file that is there."""
    if text in ("on", "off") or Path(text).is_file():
        return text
    raise ValueError("is neither on, off nor the path of a file")


def folder(text: str) -> str:
    """A folder with its whole path, or nothing. Whether it is there is asked when the server starts."""
    return text and str(Path(text).absolute())


def processes(text: str) -> int:
    """A number of processes; 0: as many as suit the machine."""
    return 0 if text == "0" else number(4, 1_000)(text)


def reload(text: str) -> str:
    """When tasks are loaded again, or nothing: as suits where the server listens."""
    return text and one_of("change", "command")(text)


def user(text: str) -> str:
    """The name of a user of this machine, or nothing."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", text):
        raise ValueError("is not the name of a user")
    return text


def provider_of_app(text: str) -> str:
    """`APP/PROVIDER`, or nothing. Whether there is such a provider is asked when somebody signs in."""
    if not re.fullmatch(r"([A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64})?", text):
        raise ValueError("is not an app and a provider with a slash between them")
    return text


def host(text: str) -> str:
    """An address to listen on."""
    if re.fullmatch(r"[0-9a-zA-Z.:_-]+", text):
        return text
    raise ValueError("is not an address to listen on")


def number(low: int, high: int, unit: str = "") -> Callable[[str], int]:
    """Reads whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}{unit}")
        return int(text)

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Reads one of some words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text

    return parse
