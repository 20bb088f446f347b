"""Bodies of the type application/x-www-form-urlencoded."""

from urllib.parse import parse_qsl

from admit.errors import InvalidRequest

MEDIA_TYPE = "application/x-www-form-urlencoded"
FIELDS_MAX = 20


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form. RFC 6749 §3.1: no name stands twice. Raises InvalidRequest."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise InvalidRequest(f"The body is not {MEDIA_TYPE}.") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidRequest("A name stands twice in the body.")
    if any("\0" in value for value in fields.values()):
        raise InvalidRequest("The body holds the character U+0000.")
    return fields


def is_form(content_type: str | None) -> bool:
    """Whether a Content-Type header announces a form."""
    return (content_type or "").partition(";")[0].strip().lower() == MEDIA_TYPE
