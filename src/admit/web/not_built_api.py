"""What the contract has and this server does not: 501 with a code and a sentence, rather than a riddle.

Source: what `dexie-cloud` 3.0.7 and `dexie-cloud-addon` 4.4.14 call (docs/compat.md).
"""

from collections.abc import Callable

from starlette.responses import Response

from admit.errors import AdmitError, NotBuilt, NotFound
from admit.web.errors import status_of
from admit.web.operations import Call, Method, Operation


def no_new_apps() -> NotBuilt:
    """For apps that are to be made from afar."""
    return NotBuilt(
        "Apps are made on the server: admit app create NAME --owner EMAIL. "
        "Then connect to one: dexie-cloud connect DATABASE-URL",
        code="create_db_not_built",
    )


def no_deletion() -> NotBuilt:
    """For apps that are to go, or to come back."""
    return NotBuilt("This server does not delete apps, nor bring them back.", code="delete_db_not_built")


def no_realms() -> NotBuilt:
    """For realms, members and roles."""
    return NotBuilt("This server has no realms, members or roles.", code="realms_not_built")


def no_invites() -> NotBuilt:
    """For everything about invites."""
    return NotBuilt(
        "This server sends no invites. Take the invite-* files out of dexie-cloud/email-templates.",
        code="invites_not_built",
    )


def no_blobs() -> NotFound:
    """For blobs. The addon takes a 404 for a server without any, and keeps long texts and binaries inline."""
    return NotFound("This server keeps no blobs: they stay in their objects.", code="blobs_not_built")


def no_texts() -> NotBuilt:
    """For shared texts."""
    return NotBuilt("This server keeps no shared texts (Yjs).", code="yjs_not_built")


def nothing_to_export() -> NotFound:
    """The command takes a 404 for an export without blobs or texts, and that is what ours is."""
    return NotFound("This server keeps no blobs and no shared texts, so there are none to export.")


def _operation(
    method: Method, path: str, name: str, error: Callable[[], AdmitError], summary: str
) -> Operation:
    async def refuse(call: Call) -> Response:
        raise error()

    refuse.__name__ = name
    told = error()
    return Operation(
        method=method,
        path=path,
        handler=refuse,
        summary=summary,
        access="open",
        status=status_of(told),
        codes=(told.code,),
    )


OPERATIONS = (
    _operation("POST", "/token", "token_to_create", no_new_apps, "Not built: making apps from afar"),
    _operation("POST", "/create-db", "create_db", no_new_apps, "Not built: making an app"),
    _operation("POST", "/{app}/delete-db", "delete_db", no_deletion, "Not built: deleting an app"),
    _operation("POST", "/{app}/undelete-db", "undelete_db", no_deletion, "Not built: restoring an app"),
    _operation("GET", "/{app}/blob/{ref}", "read_blob", no_blobs, "Not built: reading a blob"),
    _operation("POST", "/{app}/blob/{ref}", "write_blob", no_blobs, "Not built: writing a blob"),
    _operation("PUT", "/{app}/blob/{ref}", "put_blob", no_blobs, "Not built: keeping a blob"),
    _operation("POST", "/{app}/import/blobs", "import_blobs", no_blobs, "Not built: importing blobs"),
    _operation("POST", "/{app}/import/yjs", "import_texts", no_texts, "Not built: importing texts"),
    _operation("GET", "/{app}/y/download", "read_texts", no_texts, "Not built: reading texts"),
    _operation("GET", "/{app}/export/blobs", "export_blobs", nothing_to_export, "There are no blobs"),
    _operation("GET", "/{app}/export/yjs", "export_texts", nothing_to_export, "There are no texts"),
)
