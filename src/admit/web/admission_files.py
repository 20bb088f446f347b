"""Files of the ledger, CSV and JSON lines, written a portion at a time. Pure."""

import csv
import io
from collections.abc import Sequence

import msgspec

from admit.accounts.people_files import Format, cell
from admit.clock import iso_date
from admit.web.admin_types import AdmissionView

COLUMNS = AdmissionView.__struct_fields__
TIMES = frozenset({"opened_at", "settled_at"})
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


def head(format_: Format) -> str:
    """What a file begins with."""
    return _csv([COLUMNS]) if format_ == "csv" else ""


def lines(admissions: Sequence[AdmissionView], format_: Format) -> str:
    """A portion of a file. In CSV times are ISO 8601, and what a spreadsheet would take for a formula is led
    by an apostrophe; JSON is as the admin API tells it."""
    if format_ == "jsonl":
        return "".join(msgspec.json.encode(each).decode() + "\n" for each in admissions)
    return _csv([[_cell(name, getattr(each, name)) for name in COLUMNS] for each in admissions])


def _cell(name: str, value: object) -> str:
    if isinstance(value, int) and name in TIMES:
        return iso_date(value)
    return cell(msgspec.json.encode(value).decode() if isinstance(value, dict) else value)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
