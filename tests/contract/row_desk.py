"""An app where Ada and Bob live, and who asks for rows there: they themselves, programs, strangers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from admit.accounts.apps import App
from tests.contract.served import Answered, Served

ADA, BOB = "ada@example.com", "bob@example.com"
PUBLIC = "rlm-public"
READS = ("ACCESS_DB", "GLOBAL_READ")
WRITES = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")


@dataclass
class Desk:
    """The app, and an API client of it."""

    served: Served
    app: App
    client_id: str

    async def program(
        self, method: str, path: str, body: object = None, *, scopes: tuple[str, ...] = WRITES
    ) -> Answered:
        """Asks as the program of the client, for nobody in particular."""
        claims = {"client_id": self.client_id, "client_since": 2**52}
        token = self.served.bearer(self.app, self.client_id, scopes, **claims)
        return await self._ask(method, path, body, token)

    async def person(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        *,
        scopes: tuple[str, ...] = ("ACCESS_DB",),
    ) -> Answered:
        """Asks as a person."""
        return await self._ask(method, path, body, self.served.bearer(self.app, who, scopes))

    async def stranger(self, method: str, path: str, body: object = None) -> Answered:
        """Asks without a token."""
        return await self._ask(method, path, body, {})

    async def put(self, table: str, *rows: Mapping[str, object]) -> list[dict[str, Any]]:
        """Puts rows in whatever realms they say."""
        answer = await self.program("POST", f"/all/{table}", list(rows))
        assert answer.status == 200, answer.body
        return list(answer.json)

    async def _ask(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answered:
        options: dict[str, Any] = {"headers": headers}
        if isinstance(body, bytes):
            options |= {"data": body}
        elif body is not None:
            options |= {"json": body}
        return await self.served.ask(method, f"/{self.app.name}{path}", **options)


async def desk_at(served: Served) -> Desk:
    """The app, with Ada, who pays, and Bob, who tries."""
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod"}, {"userId": BOB, "type": "eval"})
    client = await served.client(app)
    return Desk(served, await served.gateway.directory.app(app.name), client.client_id)
