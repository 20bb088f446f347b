"""Database URLs, as an operator types them."""

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from admit.errors import ConfigError

EXAMPLES = "Use sqlite:///admit.db or postgresql://user@host/database."


def parse_url(setting: str, url: str) -> URL:
    """Reads a database URL. Raises ConfigError, which names `setting`."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise ConfigError(f"{setting} is not a database URL. {EXAMPLES}") from None
    match backend:
        case "sqlite" if parsed.database in (None, "", ":memory:"):
            raise ConfigError(f"{setting} names no file. {EXAMPLES}")
        case "sqlite" | "postgresql":
            return parsed
        case "postgres":
            return parsed.set(drivername="postgresql")
        case _:
            raise ConfigError(f"{setting} names {parsed.drivername!r}, which Admit does not know. {EXAMPLES}")
