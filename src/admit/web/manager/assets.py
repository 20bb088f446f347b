"""The files that pages load: under an address that changes with their content, so that browsers keep them."""

import hashlib
import mimetypes
from importlib.resources import files

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admit.errors import NotFound
from admit.web.errors import MethodNotAllowed

DIGEST_CHARACTERS = 12
OPTIONAL = frozenset({"htmx.min.js"})
"""Comes from npm when the server is set up; pages do without it."""

_NAMES = (
    "admit.css",
    "icons.svg",
    "manager.js",
    "passkeys.js",
    "mail-texts.js",
    "people-import.js",
    *sorted(OPTIONAL),
)
_KEPT = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Asset(msgspec.Struct, frozen=True):
    """One file. `address` is where pages load it."""

    name: str
    content: bytes
    media_type: str
    address: str


class Assets:
    """All files, read once."""

    def __init__(self, prefix: str) -> None:
        folder = files("admit.web").joinpath("static", "manager")
        self._assets: dict[str, Asset] = {}
        for name in _NAMES:
            file = folder.joinpath(name)
            if name not in OPTIONAL or file.is_file():
                self._assets[name] = _asset(name, file.read_bytes(), prefix)

    def address(self, name: str) -> str:
        """Where pages load `name`; "" where an optional file is not here."""
        asset = self._assets.get(name)
        return "" if asset is None else asset.address

    async def __call__(self, request: Request) -> Response:
        """The file that the path names; former content is not kept, and asked for by no page."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD")
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise NotFound("There is no such file.")
        return Response(asset.content, media_type=asset.media_type, headers=_KEPT)


def _asset(name: str, content: bytes, prefix: str) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(name=name, content=content, media_type=kind, address=f"{prefix}/{digest}/{name}")
