"""docs/guides/sessions-api.md: its commands are typed one after the other, and its refusals are real."""

import base64
import re
import shlex
from typing import Any

import msgspec

from tests.contract.served import Answered, Served
from tests.contract.signin_desk import device
from tests.contract.test_admin_api import operator_token
from tests.contract.test_sessions_api import ADA, TABLET, Api
from tests.structure.source import page

GUIDE = page("guides/sessions-api.md")
ID = re.compile(r"\b(ses|ent)_…")


async def type_curl(served: Served, line: str, token: str, ids: dict[str, str]) -> Answered:
    """What curl would have been answered, with the ids that stand for … in `line`."""
    line = line.replace("$TOKEN", token).replace("$ADMIT", "")
    words = iter(shlex.split(ID.sub(lambda found: ids[found[1]], line))[1:])
    method, path, headers, data = "GET", "", {}, None
    for word in words:
        if word == "-u":
            headers["Authorization"] = "Basic " + base64.b64encode(next(words).encode()).decode()
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-X":
            method = next(words)
        elif word == "-d":
            data = next(words)
        else:
            path = word
    return await served.ask(method, path, headers=headers, data=data)


def members(value: Any) -> Any:
    """The names in an answer, at every level."""
    if isinstance(value, dict):
        return {name: members(each) for name, each in value.items()}
    return [members(value[0])] if isinstance(value, list) and value else None


async def test_commands_of_the_guide_do_what_it_says(served: Served) -> None:
    app = await served.app()
    api = Api(served, app, await served.client(app))
    token = await operator_token(served, "sessions:read", "sessions:write", app="notes")
    await api.enrolled(on=TABLET)
    await api.enrolled("bob@example.com", on=TABLET, by=device(2))
    await api.enrolled("carol@example.com", on=TABLET, by=device(2))
    ids = {"ses": (await api.get(f"users/{ADA}"))["sessions"][0]["id"]}
    shown = [msgspec.json.decode(each) for each in re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL)]
    list_shown, session_shown, token_shown = shown

    typed = re.findall(r"^curl .+$", GUIDE, re.MULTILINE)
    assert len(typed) > 15
    for line in typed:
        answer = await type_curl(served, line, token, ids)
        assert answer.status in (200, 201, 204), (line, answer.body)
        if line.endswith('/authentication-token"'):
            ids["ent"] = answer.json["id"]
            assert members(answer.json) == members(token_shown)
        elif line.endswith('?limit=2"'):
            told = answer.json | {
                "objects": [each | {"sessions": [{"id": ""}]} for each in answer.json["objects"]]
            }
            assert members(told) == members(list_shown)
        elif line.endswith('/lock"') and "/sessions/" in line:
            assert members(answer.json) == members(session_shown)
    assert (await api.get(f"users/{ADA}"))["sessions"][0]["state"] == "RESET"


async def test_refusals_of_the_guide_are_the_real_ones(served: Served) -> None:
    app = await served.app()
    api = Api(served, app, await served.client(app))
    await api.enrolled(on=TABLET)
    session_id = (await api.get(f"users/{ADA}"))["sessions"][0]["id"]
    reading = {"Authorization": f"Bearer {await operator_token(served, 'sessions:read')}"}
    everything = served.command()
    path = f"/api/v4/notes/users/{ADA}"
    session = f"{path}/sessions/{session_id}"
    wrong_client = {"Authorization": "Basic " + base64.b64encode(b"cli_x:acs_x").decode()}

    answers = [
        await served.ask("GET", f"{path}/sessions?created_since=2026-11-22T08:00:00", headers=everything),
        await served.ask("GET", path),
        await served.ask("GET", path, headers={"Authorization": "Bearer adm_x"}),
        await served.ask("GET", path, headers=wrong_client),
        await served.ask("POST", f"{path}/lock", headers=reading),
        await served.ask("GET", "/api/v4/nowhere/users", headers=everything),
        await served.ask("GET", "/api/v4/notes/users/nobody", headers=everything),
        await served.ask("GET", f"{path}/sessions/ses_x", headers=everything),
        await served.ask("DELETE", f"{path}/authentication-tokens/ent_x", headers=everything),
    ]
    await served.ask("POST", f"{path}/lock", headers=everything)
    locked_with_user = await served.ask("POST", f"{session}/unlock", headers=everything)
    await served.ask("POST", f"{session}/wipe", headers=everything)
    answers += [await served.ask("POST", f"{session}/lock", headers=everything), locked_with_user]

    told = re.findall(r"^\| (\d{3}) \| `({.+})` \|$", GUIDE, re.MULTILINE)
    assert [(int(status), msgspec.json.decode(body)) for status, body in told[:-1]] == [
        (answer.status, answer.json) for answer in answers
    ]
    assert (told[-1][0], msgspec.json.decode(told[-1][1])["code"]) == ("429", "rate_limited")
