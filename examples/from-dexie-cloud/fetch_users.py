"""Fetches all users of a Dexie Cloud database into users.jsonl, a line each, as GET /users shows them.

    python3 fetch_users.py DATABASE-URL

Needs the file dexie-cloud.key in the same folder, as `npx dexie-cloud connect DATABASE-URL` leaves it.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

PAGE = 1_000
SECONDS_MAX = 60
PERSONAL = 0o600


def main() -> None:
    """Writes users.jsonl, which nobody else may read."""
    database_url = sys.argv[1].rstrip("/")
    with open("dexie-cloud.key", encoding="utf-8") as file:
        keys = json.load(file)[database_url]
    token = fetch_token(database_url, keys)
    written = os.open("users.jsonl", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PERSONAL)
    with open(written, "w", encoding="utf-8") as file:
        count = 0
        for user in fetch_users(database_url, token):
            file.write(json.dumps(user) + "\n")
            count += 1
    print(f"{count} users are in users.jsonl.")


def fetch_token(database_url: str, keys: dict[str, str]) -> str:
    """An access token that may read all users."""
    asked = {
        "grant_type": "client_credentials",
        "client_id": keys["clientId"],
        "client_secret": keys["clientSecret"],
        "scopes": ["ACCESS_DB", "GLOBAL_READ"],
    }
    headers = {"Content-Type": "application/json"}
    token: str = fetch(Request(f"{database_url}/token", json.dumps(asked).encode(), headers))["accessToken"]
    return token


def fetch_users(database_url: str, token: str) -> Iterator[dict[str, Any]]:
    """All users, page by page."""
    key: str | None = None
    while True:
        query = {"limit": PAGE, "sort": "userId"} | ({} if key is None else {"pagingKey": key})
        headers = {"Authorization": f"Bearer {token}"}
        page = fetch(Request(f"{database_url}/users?{urlencode(query)}", headers=headers))
        yield from page["data"]
        key = page.get("pagingKey")
        if not page["hasMore"] or key is None:
            return


def fetch(request: Request) -> Any:
    """The JSON that answers `request`."""
    with urlopen(request, timeout=SECONDS_MAX) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
