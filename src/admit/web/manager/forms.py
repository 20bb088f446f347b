"""What a form of a page says: fields, and files where it is sent as multipart/form-data."""

import re
from collections.abc import AsyncIterator, Mapping
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from admit.errors import InvalidRequest
from admit.web.forms import MEDIA_TYPE

FIELDS_MAX = 1_000
FILES_MAX = 1
FIELD_BYTES_MAX = 1_000_000
MULTIPART = "multipart/form-data"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Form:
    """The fields of a form, as they were typed. A field that is not there is an empty text."""

    def __init__(self, fields: FormData, files: Mapping[str, bytes]) -> None:
        self._fields = fields
        self._files = files

    def text(self, name: str) -> str:
        """The field, without spaces at its ends."""
        return self.verbatim(name).strip()

    def verbatim(self, name: str) -> str:
        """The field as it was typed, with the line ends of this side of the network."""
        value = self._fields.get(name, "")
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def optional(self, name: str) -> str | None:
        """The field; None where it was left empty."""
        return self.text(name) or None

    def flag(self, name: str) -> bool:
        """Whether the box was ticked."""
        return name in self._fields

    def many(self, name: str) -> list[str]:
        """Everything that was chosen under this name."""
        return [value for value in self._fields.getlist(name) if isinstance(value, str) and value]

    def integer(self, name: str, label: str) -> int | None:
        """The field as a whole number; None where it was left empty. Raises InvalidRequest."""
        typed = self.text(name).replace(",", "").replace("\u2009", "")
        if not typed:
            return None
        if not (typed.removeprefix("-").isascii() and typed.removeprefix("-").isdigit() and len(typed) < 16):
            raise InvalidRequest(f"{label}: write a whole number, such as 30.")
        return int(typed)

    def file(self, name: str) -> bytes | None:
        """The content of the file that was chosen; None: there was none."""
        return self._files.get(name)

    def file_name(self, name: str) -> str:
        """What the file that was chosen is called; "": there was none."""
        value = self._fields.get(name)
        return (value.filename or "") if isinstance(value, UploadFile) else ""


async def read_form(headers: Headers, body: bytes) -> Form:
    """The form in a whole body. Raises InvalidRequest."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    fields = await _multipart(headers, body) if kind == MULTIPART else _encoded(kind, body)
    for _, value in fields.multi_items():
        if isinstance(value, str) and "\0" in value:
            raise InvalidRequest("The form holds the character U+0000.")
        # Which only the charset of a multipart/form-data can bring.
        if isinstance(value, str) and _SURROGATE.search(value):
            raise InvalidRequest("The form is not UTF-8.")
    return Form(fields, await _files_of(fields))


def _encoded(kind: str, body: bytes) -> FormData:
    if body and kind != MEDIA_TYPE:
        raise InvalidRequest(f"A form is sent as {MEDIA_TYPE} or as {MULTIPART}.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    fields: list[tuple[str, str | UploadFile]] = [*pairs]
    return FormData(fields)


async def _multipart(headers: Headers, body: bytes) -> FormData:
    async def stream() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        headers,
        stream(),  # type: ignore[arg-type]  # an iterator is all that it asks of a generator
        max_files=FILES_MAX,
        max_fields=FIELDS_MAX,
        max_part_size=FIELD_BYTES_MAX,
    )
    try:
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise InvalidRequest("The form cannot be read.") from None


async def _files_of(fields: FormData) -> dict[str, bytes]:
    """The files that were chosen, by name. What the parser holds of them is given back."""
    files: dict[str, bytes] = {}
    for name, value in fields.multi_items():
        if isinstance(value, UploadFile):
            if value.filename:
                files[name] = await value.read()
            await value.close()
    return files
