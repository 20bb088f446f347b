"""admit device: what people have enrolled on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from admit.cli.command import AppName, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.users import UserId
from admit.cli.values import to_the_second

if TYPE_CHECKING:
    from admit.web.devices_api import DeviceView

devices = group(
    "device",
    "Devices: what people have enrolled on.",
    example="admit device list notes ada@example.com",
)

PAGE_SIZE = 500


@command(devices, "list", example="admit device list notes ada@example.com")
def list_devices(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lists the devices of a person, those first that were first seen last.

    The id is what the client sends, and no proof of hardware; where it sends none, it is made from its key
    (ID FROM key), and some clients make a new key at every login. NEWEST SESSION is the last enrollment on
    the device.
    """
    terminal.out.many(
        _pages(terminal, app, user_id),
        [
            Column["DeviceView"]("LABEL", lambda device: device.label or ""),
            Column("PLATFORM", lambda device: device.container.platform or ""),
            Column("STATE", _state),
            Column("FIRST SEEN", lambda device: to_the_second(device.first_seen_at)),
            Column("LAST SEEN", lambda device: to_the_second(device.last_seen_at)),
            Column("ID FROM", lambda device: "key" if device.derived else "client"),
            Column("DEVICE ID", lambda device: device.id),
            Column("NEWEST SESSION", lambda device: device.session.id if device.session else ""),
        ],
        none=f"{user_id} has no device yet. `admit enrollment create {app} {user_id}` makes a link for one.",
    )


def _state(device: "DeviceView") -> str:
    if (session := device.session) is None:
        return ""
    return f"{session.state} ({session.reason})" if session.reason else session.state


def _pages(terminal: Terminal, app: str, user_id: str) -> Iterator["DeviceView"]:
    from admit.web.devices_api import Devices

    after: str | None = None
    while True:
        where = target("v4", app, "users", user_id, "devices", limit=PAGE_SIZE, after=after)
        page = terminal.call("GET", where, None, Devices)
        yield from page.objects
        if (after := page.next) is None:
            return
