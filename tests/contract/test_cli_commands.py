"""The commands, alike by every way: into a SQLite file, through a server that holds it, into PostgreSQL."""

import itertools
import json
from collections.abc import Iterator

import pytest

from admit.cli.connection import target
from admit.cli.values import moment
from tests.commands import Runner
from tests.contract.command_line import CommandLine, serving
from tests.postgres import Cluster

SECRET_KEY = "the-secret-key-of-command-tests-0123456789"

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["file", "server", "postgres"])
def admit(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """A command line on one database for all tests here, which it reaches in each way in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "file":
            line = CommandLine(runner, folder)
            assert f"Made the database {folder}/admit.db and its secret key" in line("token", "create").err
            yield line
        case "server":
            with serving(folder):
                yield CommandLine(runner, folder)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            url = cluster.create_database("commands")
            yield CommandLine(runner, folder, {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY})
            cluster.drop_database("commands")


@pytest.fixture
def app(admit: CommandLine) -> str:
    """The name of a new app."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "ada@example.com")
    return name


@pytest.fixture
def people(admit: CommandLine, app: str) -> str:
    """The name of a new app with more people than a page holds: u0000@example.com to u1199@example.com."""
    for start in (0, 600):
        admit.post(
            target("apps", app, "users"),
            [
                {
                    "userId": f"u{number:04}@example.com",
                    "type": "prod" if number % 2 else "eval",
                    "data": {"displayName": f"Person {number}"},
                }
                for number in range(start, start + 600)
            ],
        )
    return app


def test_an_app_is_made_shown_and_listed(admit: CommandLine) -> None:
    made = admit.json("app", "create", "first", "--owner", "Ada@Example.com", "--user-ids", "opaque")

    assert made["owners"] == ["ada@example.com"]
    assert made["user_ids"] == "opaque"
    assert made["policy"]["kind"] == "eval"
    assert made["database_url"].endswith("/first")
    assert admit.json("app", "show", "first") == made
    assert made in admit.json("app", "list")
    assert "database URL\t" + made["database_url"] in admit.done("app", "show", "first").splitlines()


def test_a_second_app_of_that_name_a_reserved_name_and_no_name_are_refused(
    admit: CommandLine, app: str
) -> None:
    assert "already" in admit.refused("app", "create", app, "--owner", "a@example.com")
    assert "reserved" in admit.refused("app", "create", "api", "--owner", "a@example.com")
    assert "cannot name an app" in admit.refused("app", "create", "A b", "--owner", "a@example.com")
    assert "not an email" in admit.refused("app", "create", "other", "--owner", "ada")
    assert admit("app", "show", "other").code == 3


@pytest.mark.parametrize(
    "command",
    [
        ["app", "show"],
        ["client", "list"],
        ["client", "create"],
        ["origin", "list"],
        ["host", "list"],
        ["host", "add", "auth.example.com"],
        ["app", "rename", "other"],
        ["policy", "show"],
        ["policy", "set", "eval"],
        ["policy", "rotate", "--yes"],
        ["owner", "list"],
        ["owner", "add", "grace@example.com"],
        ["setting", "show"],
        ["setting", "set", "--eval-days=7"],
        ["user", "list"],
        ["admission", "list"],
    ],
    ids=" ".join,
)
def test_an_unknown_app_is_not_found_and_the_like_is_named(
    admit: CommandLine, app: str, command: list[str]
) -> None:
    wrong = app.replace("app", "ap")

    sentence = admit.refused(*command[:2], wrong, *command[2:], code=3)

    assert sentence.startswith(f"There is no app {wrong!r}. Is '")
    assert repr(app) in sentence
    assert (
        admit.refused(*command[:2], "zzzzzzzzzz", *command[2:], code=3)
        == "There is no app 'zzzzzzzzzz'. `admit app list` shows those there are."
    )


def test_a_client_is_made_rotated_and_revoked(admit: CommandLine, app: str) -> None:
    made = admit.json("client", "create", app, "--scopes", "IMPERSONATE,ACCESS_DB", "--owner", "a@b.org")
    client_id = made["client_id"]

    assert made["scopes"] == ["ACCESS_DB", "IMPERSONATE"]
    (shown,) = admit.json("client", "list", app)
    assert (shown["client_id"], shown["owner"]) == (client_id, "a@b.org")
    assert made["client_secret"] not in json.dumps(shown)
    rotated = admit.json("client", "rotate", app, client_id, "--yes")
    assert rotated["client_id"] == client_id
    assert rotated["client_secret"] != made["client_secret"]
    assert admit.json("client", "revoke", app, client_id, "--yes") == {
        "client_id": client_id,
        "revoked": True,
    }
    assert admit.json("client", "list", app) == []
    assert "no client" in admit.refused("client", "revoke", app, client_id, "--yes", code=3)


def test_a_secret_is_shown_with_the_advice_to_keep_it(admit: CommandLine, app: str) -> None:
    ended = admit("client", "create", app)

    assert "client secret\t" in ended.out
    assert "cannot be shown again" in ended.err


def test_an_unknown_scope_makes_no_client(admit: CommandLine, app: str) -> None:
    assert "IMPERSONATE" in admit.refused("client", "create", app, "--scopes", "ACCESS_DB,ROOT")
    assert admit.json("client", "list", app) == []


def test_origins_are_normalised_and_removed(admit: CommandLine, app: str) -> None:
    admit.done("origin", "add", app, "HTTPS://App.Example.com/")
    admit.done("origin", "add", app, "http://localhost:3000")
    admit.done("origin", "add", app, "https://app.example.com")

    assert admit.json("origin", "list", app) == ["http://localhost:3000", "https://app.example.com"]
    admit.done("origin", "remove", app, "https://app.example.com/", "--yes")
    assert admit.done("origin", "list", app) == "ORIGIN\nhttp://localhost:3000\n"
    assert admit("origin", "remove", app, "https://app.example.com", "--yes").code == 3
    assert "scheme" in admit.refused("origin", "add", app, "example.com")


@pytest.mark.parametrize(
    ("arguments", "policy", "words"),
    [
        (["prod"], {"kind": "prod"}, "prod (everybody comes in)"),
        (["reject"], {"kind": "reject"}, "reject (nobody unknown comes in)"),
        (
            ["domains", "B.example,a.example", "xn--bcher-kva.example"],
            {"kind": "domains", "domains": ["b.example", "a.example", "xn--bcher-kva.example"]},
            "domains (who proves an email at b.example, a.example, xn--bcher-kva.example comes in)",
        ),
        (
            ["webhook", "https://example.com/decide"],
            {"kind": "webhook", "url": "https://example.com/decide", "timeout_seconds": 5.0},
            "webhook (https://example.com/decide decides within 5s; when it fails, nobody comes in)",
        ),
        (
            ["webhook", "https://example.com/", "--timeout", "1500ms", "--on-failure", "eval"],
            {"kind": "webhook", "timeout_seconds": 1.5, "on_failure": "eval"},
            "webhook (https://example.com/ decides within 1500ms; when it fails, everybody does, on trial)",
        ),
        (
            ["task", "decide", "--timeout", "2s", "--on-failure", "eval"],
            {"kind": "task", "task": "decide", "timeout_seconds": 2.0, "on_failure": "eval"},
            "task (decide decides within 2s; when it fails, everybody does, on trial)",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_policy_is_set_and_shown(
    admit: CommandLine, app: str, arguments: list[str], policy: dict[str, object], words: str
) -> None:
    assert admit.done("policy", "set", app, *arguments) == f"The policy of {app} is {words}.\n"

    shown = admit.json("policy", "show", app)
    assert {key: shown["policy"][key] for key in policy} == policy
    assert shown["version"] == 2
    assert f"policy\t{words}\n" in admit.done("policy", "show", app)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["domains", "gmail.com"], "everybody"),
        (["domains", "example"], "domain"),
        (["webhook", "http://169.254.169.254/latest"], "metadata"),
        (["webhook", "http://127.0.0.1:1/"], "EGRESS_ALLOW"),
        (["webhook", "ftp://example.com"], "https://"),
        (["webhook", "https://example.com", "--timeout", "16s"], "1 to 15 seconds"),
        (["webhook", "https://example.com", "--timeout", "0s"], "1 to 15 seconds"),
        (["task", "Decide"], "the name of a task"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_refused_policy_changes_nothing(
    admit: CommandLine, app: str, arguments: list[str], problem: str
) -> None:
    assert problem in admit.refused("policy", "set", app, *arguments)
    assert admit.json("policy", "show", app)["version"] == 1


def test_the_hook_secret_is_shown_only_when_asked_for(admit: CommandLine, app: str) -> None:
    ended = admit("policy", "set", app, "webhook", "https://example.com/decide")

    assert f"admit policy show {app} --secret" in ended.err
    assert admit.json("policy", "show", app)["hook_secret"] is None
    assert "whsec_" not in admit.done("policy", "show", app)
    assert admit.json("policy", "show", app, "--secret")["hook_secret"].startswith("whsec_")
    assert "hook secret\twhsec_" in admit.done("policy", "show", app, "--secret")


def test_the_hook_secret_is_rotated(admit: CommandLine, app: str) -> None:
    before = admit.json("policy", "show", app, "--secret")["hook_secret"]

    rotated = admit.json("policy", "rotate", app, "--yes")["hook_secret"]

    assert rotated.startswith("whsec_")
    assert rotated != before
    assert admit.json("policy", "show", app, "--secret")["hook_secret"] == rotated
    assert "add --yes" in admit.refused("policy", "rotate", app, code=2)


def test_owners_come_and_go_but_for_the_last(admit: CommandLine, app: str) -> None:
    said = admit.done("owner", "add", app, " Grace@Example.com")
    assert said == f"grace@example.com is an owner of {app}.\n"
    assert admit.json("owner", "list", app) == ["ada@example.com", "grace@example.com"]
    assert admit.json("owner", "add", app, "grace@example.com") == ["ada@example.com", "grace@example.com"]

    assert admit.json("owner", "remove", app, "ada@example.com", "--yes") == ["grace@example.com"]
    assert "only one" in admit.refused("owner", "remove", app, "grace@example.com", "--yes")
    assert "not an email" in admit.refused("owner", "add", app, "grace")
    assert admit.done("owner", "list", app) == "OWNER\ngrace@example.com\n"


def test_a_setting_is_changed_and_the_others_stay(admit: CommandLine, app: str) -> None:
    admit.done("setting", "set", app, "--mail-sender", "Notes <login@example.com>", "--refuse-hopeless")

    changed = admit.json("setting", "set", app, "--eval-days", "14")

    assert changed["eval_days"] == 14
    assert (changed["mail_sender"], changed["refuse_hopeless_at_step_1"]) == (
        "Notes <login@example.com>",
        True,
    )
    assert admit.json("setting", "show", app) == changed
    plain = admit.done("setting", "set", app, "--mail-sender", "none", "--mail-everybody").splitlines()
    assert {"eval days\t14", "mail sender\tthe server's", "codes go to\teverybody"} <= set(plain)
    assert "from 0 to" in admit.refused("setting", "set", app, "--eval-days", "-1")
    assert "Which setting?" in admit.refused("setting", "set", app, code=2)


def test_a_simulation_tells_the_outcome_and_the_reason(admit: CommandLine, app: str) -> None:
    admit.done("policy", "set", app, "domains", "example.com")

    assert admit.done("policy", "simulate", app, "--email", "New@Example.com").splitlines() == [
        "who\tnew@example.com",
        "known\tno",
        "outcome\tcomes in as prod",
        "why\tThe policy lists example.com.",
    ]
    outside = admit.json("policy", "simulate", app, "--email", "new@example.com.evil.org")
    assert (outside["outcome"], outside["code"]) == ("refuse", "USER_NOT_ACCEPTED")
    unproven = admit.json("policy", "simulate", app, "--email", "new@example.com", "--unverified")
    assert unproven["outcome"] == "refuse"
    admit.done("policy", "set", app, "webhook", "https://example.com/decide")
    assert "depends on https://example.com/decide" in admit.done(
        "policy", "simulate", app, "--email", "new@example.com"
    )
    admit.done("policy", "set", app, "task", "decide")
    asks = admit.done("policy", "simulate", app, "--email", "new@example.com")
    assert "depends on the task decide" in asks
    assert "admission_id" not in asks
    login = admit.json("policy", "simulate", app, "--email", "new@example.com", "--intent", "login")
    assert login["code"] == "USER_NOT_REGISTERED"
    assert "@" in admit.refused("policy", "simulate", app, "--email", "nobody")
    assert admit.json("user", "list", app) == []
    assert admit.json("admission", "list", app) == []


def test_operator_tokens_are_made_listed_and_revoked(admit: CommandLine, app: str) -> None:
    made = admit.json("token", "create", "--label", "deploy", "--scopes", "apps:read", "--expires", "90d")
    narrow = admit.json("token", "create", "--app", app)

    listed = {each["token_id"]: each for each in admit.json("token", "list")}
    assert listed[made["token_id"]]["label"] == "deploy"
    assert listed[made["token_id"]]["scopes"] == ["apps:read"]
    assert listed[made["token_id"]]["expires_at"] == made["expires_at"]
    assert listed[narrow["token_id"]]["app"] == app
    assert made["token"] not in json.dumps(list(listed.values()))
    admit.done("token", "revoke", made["token_id"], "--yes")
    assert admit("token", "revoke", made["token_id"], "--yes").code == 3


@pytest.mark.parametrize(
    ("options", "verb"),
    [
        ([], "and type: admit app list\n"),
        (["--scopes", "users:read"], "and type: admit user list APP\n"),
        (["--scopes", "sessions:read,events:read"], "and type: admit session list APP\n"),
        (["--scopes", "users:write"], "ADMIT_TOKEN=adm_…\n"),
    ],
)
def test_who_makes_a_token_hears_how_to_try_it(admit: CommandLine, options: list[str], verb: str) -> None:
    ended = admit("token", "create", *options)
    assert "cannot be shown again. Next, elsewhere: export ADMIT_URL=https://…" in ended.err
    assert ended.err.endswith(verb)


def test_token_of_one_app_is_tried_in_that_app(admit: CommandLine, app: str) -> None:
    assert admit("token", "create", "--app", app).err.endswith(f"and type: admit user list {app}\n")


def test_an_impossible_token_is_refused(admit: CommandLine) -> None:
    assert "apps:read" in admit.refused("token", "create", "--scopes", "root")
    assert "no app 'nowhere'" in admit.refused("token", "create", "--app", "nowhere", code=3)
    assert "a minute" in admit.refused("token", "create", "--expires", "5s", code=2)


def test_people_are_listed_however_many(admit: CommandLine, people: str) -> None:
    listed = admit.json("user", "list", people, "--sort", "userId")

    assert [each["user_id"] for each in listed] == [f"u{number:04}@example.com" for number in range(1_200)]
    assert len(admit.done("user", "list", people).splitlines()) == 1_201


def test_people_are_searched_sorted_and_limited(admit: CommandLine, people: str) -> None:
    def ids(*options: str) -> list[str]:
        return [each["user_id"][:5] for each in admit.json("user", "list", people, *options)]

    assert ids("--search", "U000", "--sort", "userId") == [f"u000{digit}" for digit in range(10)]
    assert ids("--search", "u000", "--type", "prod", "--sort", "userId", "--desc") == [
        "u0009",
        "u0007",
        "u0005",
        "u0003",
        "u0001",
    ]
    assert ids("--sort", "userId", "--desc", "--limit", "2") == ["u1199", "u1198"]
    assert len(ids("--limit", "1001")) == 1_001
    assert ids("--search", "nobody") == []


def test_a_person_is_shown_deactivated_reactivated_and_deleted(admit: CommandLine, app: str) -> None:
    admit.post(
        target("apps", app, "users"), [{"userId": "a/b c@x.org", "type": "prod", "data": {"plan": "x"}}]
    )

    assert 'data\t{"plan":"x"}' in admit.done("user", "show", app, "a/b c@x.org").splitlines()
    assert admit.json("user", "deactivate", app, "a/b c@x.org", "--yes")["license"] == "deactivated"
    assert admit.json("user", "show", app, "a/b c@x.org")["deactivated_at"] is not None
    assert admit.json("user", "reactivate", app, "a/b c@x.org")["license"] == "ok"
    timeline = admit.done("user", "timeline", app, "a/b c@x.org").splitlines()
    assert [line.split("\t")[1:3] for line in timeline[1:]] == [
        ["event", "Let in again"],
        ["event", "Deactivated"],
        ["event", "Enrolled"],
        ["decision", "Admitted as prod"],
    ]
    assert len(admit.json("user", "timeline", app, "a/b c@x.org", "--kind", "event", "--limit", "2")) == 2
    asked = admit("user", "delete", app, "a/b c@x.org")
    assert "Erased: the data." in asked.err
    assert "Kept: 1 decision in the ledger and 3 events, with the userId" in asked.err
    assert asked.code == 2
    admit.done("user", "delete", app, "a/b c@x.org", "--yes")
    for verb in (["show"], ["reactivate"], ["deactivate", "--yes"], ["delete", "--yes"]):
        assert "no such user" in admit.refused("user", verb[0], app, "a/b c@x.org", *verb[1:], code=3)


def test_a_name_from_a_stranger_cannot_play_tricks(admit: CommandLine, app: str) -> None:
    trick = "Eve\u202e\u2066 \u009b2J"
    admit.post(
        target("apps", app, "users"),
        [{"userId": "eve@example.com", "type": "eval", "data": {"displayName": trick, "x": "\x1b[2J"}}],
    )

    for output in (admit.done("user", "list", app), admit.done("user", "show", app, "eve@example.com")):
        assert not set(output) & set("\x1b\x9b\u202e\u2066")
    assert admit.json("user", "show", app, "eve@example.com")["data"]["displayName"] == trick


def test_whoever_nobody_may_be_asked_for_is_not_harmed(admit: CommandLine, app: str) -> None:
    admit.post(target("apps", app, "users"), [{"userId": "ada@example.com", "type": "prod"}])

    assert "add --yes" in admit.refused("user", "delete", app, "ada@example.com", code=2)
    assert "add --yes" in admit.refused("user", "deactivate", app, "ada@example.com", code=2)
    assert admit.json("user", "show", app, "ada@example.com")["license"] == "ok"


def test_notices_are_shown_listed_and_taken_back(admit: CommandLine, app: str) -> None:
    said = admit.json("notice", "add", app, "Closed on Sunday.", "--warning", "--lasting", "3d")
    [notice] = said["notices"]
    assert (notice["type"], notice["message"]) == ("warning", "Closed on Sunday.")
    assert "Closed on Sunday." in admit.done("notice", "list", app)
    assert admit.json("notice", "before-end", app, "7")["warn_days"] == 7
    admit.done("notice", "remove", app, notice["notice_id"], "--yes")
    assert admit.json("notice", "list", app) == []
    refused = admit.refused("notice", "remove", app, notice["notice_id"], "--yes", code=3)
    assert "There is no notice" in refused


def test_an_app_gets_a_mail_server_and_goes_back(admit: CommandLine, app: str) -> None:
    assert "the installation's" in admit.done("mail", "show", app)
    url = "smtp://ada:secret-word@mail.example.com:2525"
    shown = admit.done("mail", "server", app, "--server", url, "--sender", "Notes <login@example.com>")
    assert "mail.example.com:2525" in shown
    assert "secret-word" not in shown
    assert admit.json("mail", "show", app)["user"] == "ada"
    admit.done("mail", "server-reset", app, "--yes")
    assert admit.json("mail", "show", app)["host"] is None
    admit.refused("mail", "server", app, "--server", "file:///tmp/mails", "--sender", "a@example.com")


def test_words_of_mails_are_set_from_files_previewed_and_reset(admit: CommandLine, app: str) -> None:
    (admit.folder / "code.txt").write_text("Your code: {{ otp }}")
    files = ("--subject", "{{ otp }} for {{ originName }}", "--text", "code.txt")
    preview = admit.json("mail", "preview", app, *files)
    assert (preview["subject"], preview["text"]) == (f"12345678 for {app}", "Your code: 12345678")
    assert admit.json("mail", "template", app)["own"] == []
    assert admit.json("mail", "template-set", app, *files)["own"] == ["subject", "text"]
    assert admit.json("mail", "template-reset", app, "--yes")["own"] == []
    (admit.folder / "code.txt").write_text("No code.")
    assert "does not contain {{ otp }}" in admit.refused("mail", "template-set", app, *files)
    admit.refused("mail", "template-set", app, "--text", "nothing-here.txt", code=2)


def test_a_test_mail_that_fails_says_why(admit: CommandLine, app: str) -> None:
    url = "smtp://127.0.0.1:1"
    assert "EGRESS_ALLOW" in admit.refused(
        "mail", "server", app, "--server", url, "--sender", "a@example.com"
    )
    url = "smtp://localhost:1"
    admit.done("mail", "server", app, "--server", url, "--sender", "a@example.com")
    assert "loopback" in admit.refused("mail", "test", app, "--to", "ada@example.com")
    (admit.folder / "nothing.txt").write_text("No code.")
    tried = ("--to", "ada@example.com", "--text", "nothing.txt")
    assert "does not contain {{ otp }}" in admit.refused("mail", "test", app, *tried)


def test_an_app_is_renamed_and_its_former_name_released(admit: CommandLine, app: str) -> None:
    renamed = admit.json("app", "rename", app, f"{app}-new")
    assert renamed["name"] == f"{app}-new"
    assert renamed["database_url"].endswith(f"/{app}-new")
    assert renamed["former_names"] == [app]
    assert admit.json("app", "show", app) == renamed
    assert "answers to its former name" in admit.refused("app", "create", app, "--owner", "a@example.com")
    assert "reserved" in admit.refused("app", "rename", app, "api")

    assert f"no longer answers to {app}" in admit.done("app", "release", f"{app}-new", app, "--yes")
    assert admit("app", "show", app).code == 3
    assert admit("app", "release", f"{app}-new", app, "--yes").code == 3


def test_hosts_are_added_listed_and_removed(admit: CommandLine, app: str) -> None:
    host = f"{app}.example.com"
    added = admit.json("host", "add", app, host.upper())
    assert added["hosts"] == [host]
    assert added["database_url"].endswith(f"://{host}")
    assert admit.json("host", "list", app) == [host]
    assert admit.json("app", "show", app)["database_url"] == added["database_url"]
    assert "not a host name" in admit.refused("host", "add", app, "*.example.com")
    assert f"no longer leads to {app}" in admit.done("host", "remove", app, host, "--yes")
    assert admit.json("host", "list", app) == []
    assert admit("host", "remove", app, host, "--yes").code == 3


def test_an_endpoint_is_made_shown_changed_and_removed(admit: CommandLine, app: str) -> None:
    made = admit.json(
        *("endpoint", "create", app, "https://crm.example.com/hooks", "--description", "CRM", "--full"),
        *("--events", "user.enrolled,user.deleted", "--once", "user", "--user-type", "prod"),
        *("--email-domain", "ACME.org", "--equals", "user.data.plan=team", "--equals", "user.data.seats=3"),
        *("--header", "Authorization: Bearer sesame", "--retry", "5s,5m", "--at-once", "4"),
    )
    assert made["secret"].startswith("whsec_")
    assert made["filter"] == {
        "user_types": ["prod"],
        "methods": [],
        "email_domains": ["acme.org"],
        "equals": [
            {"path": ["user", "data", "plan"], "value": "team"},
            {"path": ["user", "data", "seats"], "value": 3},
        ],
        "changes": [],
    }
    assert (made["retry_delays"], made["at_once_max"], made["format"]) == ([5, 300], 4, "full")

    shown = admit.done("endpoint", "show", app, made["id"])
    assert "headers\tauthorization" in shown
    assert "sesame" not in shown
    assert made["secret"] not in shown
    changed = admit.json(
        *("endpoint", "set", app, made["id"], "--events", "*", "--no-filter", "--no-headers", "--thin"),
        *("--retry", "default", "--at-once", "0", "--to", "https://crm.example.com/other"),
    )
    assert changed["url"] == "https://crm.example.com/other"
    assert (changed["events"], changed["headers"], changed["format"]) == ([], [], "thin")
    assert (changed["retry_delays"], changed["at_once_max"], changed["once"]) == (None, None, "user")
    assert changed["filter"] == made["filter"] | {"user_types": [], "email_domains": [], "equals": []}

    (listed,) = admit.json("endpoint", "list", app)
    assert listed == changed
    assert "--yes" in admit.refused("endpoint", "remove", app, made["id"], code=2)
    assert admit.json("endpoint", "remove", app, made["id"], "--yes") == {"id": made["id"], "removed": True}
    assert admit.json("endpoint", "list", app) == []
    gone = admit.refused("endpoint", "show", app, made["id"], code=3)
    assert gone == f"There is no endpoint '{made['id']}' in this app."


def test_an_endpoint_is_paused_and_resumed(admit: CommandLine, app: str) -> None:
    made = admit.json("endpoint", "create", app, "https://crm.example.com/")
    assert admit.json("endpoint", "pause", app, made["id"])["state"] == "paused"
    assert "paused" in admit.done("endpoint", "list", app)
    assert admit.json("endpoint", "resume", app, made["id"])["state"] == "enabled"


def test_secrets_of_an_endpoint_are_rotated(admit: CommandLine, app: str) -> None:
    ended = admit("endpoint", "create", app, "https://crm.example.com/", "--ed25519")
    assert ended.code == 0
    assert "public key\twhpk_" in ended.out
    assert f"/{app}/.well-known/webhook-keys.json" in ended.err
    (made,) = admit.json("endpoint", "list", app)
    assert "--yes" in admit.refused("endpoint", "rotate", app, made["id"], code=2)
    rotated = admit.json("endpoint", "rotate", app, made["id"], "--overlap", "1h", "--yes")
    assert rotated["public_key"].startswith("whpk_")
    assert len(rotated["secrets"]) == 2
    ended = admit("endpoint", "rotate", app, made["id"], "--overlap", "1h", "--yes")
    ends_at = admit.json("endpoint", "list", app)[0]["secrets"][1]["ends_at"]
    assert f"former secret\tsigns until {moment(ends_at)}\n" in ended.out
    rotated = admit.json("endpoint", "rotate", app, made["id"], "--overlap", "0s", "--yes")
    assert len(rotated["secrets"]) == 1
    ended = admit("endpoint", "rotate", app, made["id"], "--overlap", "0s", "--yes")
    assert "former secret\tsigns no more\n" in ended.out


def test_a_trial_of_an_endpoint_that_fails_shows_why(admit: CommandLine, app: str) -> None:
    made = admit.json("endpoint", "create", app, "https://127-0-0-1.invalid/hooks")
    ended = admit("endpoint", "test", app, made["id"], "--type", "user.enrolled")
    assert ended.code == 1
    assert "webhook-signature: v1," in ended.out
    assert '"type":"user.enrolled"' in ended.out
    assert "address\tnone" in ended.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--equals", "user.data.plan"], "'user.data.plan' is no condition."),
        (["--equals", "=team"], "'=team' is no condition."),
        (["--header", "Bearer sesame"], "A header is a name, a colon and a value"),
        (["--retry", "5s,soon"], "'soon' is not a duration"),
    ],
)
def test_an_option_of_an_endpoint_that_cannot_be_read_is_refused(
    admit: CommandLine, app: str, arguments: list[str], sentence: str
) -> None:
    refused = admit.refused("endpoint", "create", app, "https://crm.example.com/", *arguments, code=2)
    assert refused.startswith(sentence)
    assert "sesame" not in refused


def test_a_change_of_an_endpoint_names_something(admit: CommandLine, app: str) -> None:
    made = admit.json("endpoint", "create", app, "https://crm.example.com/")
    refused = admit.refused("endpoint", "set", app, made["id"], code=2)
    assert refused.startswith("What is to change?")
