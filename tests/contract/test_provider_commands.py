"""`admit provider …` and policies per way in: into a SQLite file, through a server, into PostgreSQL."""

import asyncio
import itertools
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.commands import CLEAN, Ended, Runner
from tests.contract.command_line import ADMIT, CommandLine, serving
from tests.hostile_provider import CLIENT_ID, CLIENT_SECRET, HostileProvider, hostile_provider
from tests.postgres import Cluster
from tests.unit.test_provider_rules import pem

SECRET_KEY = "the-secret-key-of-provider-commands-012345"
SECRET = "canary-71c3e5d2"
LOOPBACK = {"ADMIT_EGRESS_ALLOW": "127.0.0.1"}
TENANT = "11111111-2222-3333-4444-555555555555"
WITH_SECRET = ("--client-id", "us", "--secret-file", "secret.txt")
PUBLIC = ("--client-id", "us", "--public")

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["file", "server", "postgres"])
def admit(
    request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """A command line on one database for all tests here, which it reaches in each way in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "secret.txt").write_text(f"{SECRET}\n")
    match request.param:
        case "file":
            line = CommandLine(runner, folder, LOOPBACK)
            line("token", "create")
            yield line
        case "server":
            with serving(folder, **LOOPBACK):
                yield CommandLine(runner, folder)
        case _:
            cluster: Cluster = request.getfixturevalue("postgres_cluster")
            url = cluster.create_database("provider_commands")
            yield CommandLine(
                runner, folder, LOOPBACK | {"ADMIT_DATABASE_URL": url, "ADMIT_SECRET_KEY": SECRET_KEY}
            )
            cluster.drop_database("provider_commands")


@pytest.fixture
def app(admit: CommandLine) -> str:
    """The name of a new app."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "owner@example.com")
    return name


def test_google_needs_a_client_and_its_secret(admit: CommandLine, app: str) -> None:
    ended = admit("provider", "add", app, "google", *WITH_SECRET)

    assert ended.code == 0
    facts = dict(line.split("\t") for line in ended.out.splitlines())
    assert facts["callback URL"].endswith(f"/{app}/oauth/callback/google")
    assert (facts["issuer"], facts["client secret"]) == ("https://accounts.google.com", "kept")
    assert facts["trusted about"] == "gmail.com, googlemail.com, hd"
    assert ended.err == (
        "Next: register the callback URL at Google, exactly as it stands here, then "
        f"admit provider test {app} google\n"
    )
    assert SECRET not in ended.out


def test_providers_are_added_listed_shown_and_removed(admit: CommandLine, app: str) -> None:
    made = admit.json("provider", "add", app, "google", *WITH_SECRET)
    house = admit.json(
        "provider", "add", app, "oidc", *PUBLIC, "--name", "house", "--issuer", "https://id.acme.org/",
        "--trust-email", "Acme.org,acme.example", "--display-name", "Acme", "--scope", "openid,groups",
        "--claim", "groups=groups", "--claim", "roles=realm_access.roles", "--audience", "ios,android",
        "--icon", "https://acme.org/i.svg", "--response-mode", "form_post",
    )  # fmt: skip

    assert made["has_secret"] is True
    assert (house["issuer"], house["has_secret"]) == ("https://id.acme.org/", False)
    assert house["trusted_domains"] == ["acme.org", "acme.example"]
    assert (house["scopes"], house["audiences"]) == (["openid", "groups"], ["ios", "android"])
    assert house["claims"] == {"groups": "groups", "roles": "realm_access.roles"}
    assert (house["display_name"], house["icon_url"]) == ("Acme", "https://acme.org/i.svg")
    assert admit.json("provider", "list", app) == [made, house]
    assert admit.json("provider", "show", app, "house") == house
    assert admit.done("provider", "list", app).splitlines()[2].split("\t")[:4] == [
        "house",
        "oidc",
        "Acme",
        "acme.org, acme.example",
    ]
    shown = admit.done("provider", "show", app, "house")
    assert "token exchange\tof ios, android\n" in shown
    assert "client secret\tnone: a public client\n" in shown
    assert admit.json("provider", "remove", app, "house", "--yes") == {"name": "house", "removed": True}
    assert admit.json("provider", "list", app) == [made]
    assert "There is no provider 'house'" in admit.refused("provider", "show", app, "house", code=3)
    assert "providers\tgoogle\n" in admit.done("app", "show", app)


def test_removing_a_provider_is_asked_first(admit: CommandLine, app: str) -> None:
    admit.done(
        "provider", "add", app, "oidc", *PUBLIC, "--issuer", "https://a.example", "--person", "subject"
    )

    sentence = admit.refused("provider", "remove", app, "oidc", code=2)

    assert sentence.startswith(f"Nobody signs in to {app} by oidc any more")
    assert [each["name"] for each in admit.json("provider", "list", app)] == ["oidc"]


def test_every_type_is_added_by_its_own_options(admit: CommandLine, app: str) -> None:
    key = pem(ec.generate_private_key(ec.SECP256R1()))
    (admit.folder / "AuthKey.p8").write_text(key)
    apple = admit.json(
        "provider", "add", app, "apple", "--client-id", "com.example.web", "--team-id", "DEF123GHIJ",
        "--key-id", "ABC123DEFG", "--secret-file", "AuthKey.p8",
    )  # fmt: skip
    microsoft = admit.json(
        "provider", "add", app, "microsoft", *WITH_SECRET, "--tenant", TENANT, "--trust-email", "acme.org"
    )
    github = admit.json("provider", "add", app, "github", *WITH_SECRET)
    plain = admit.json(
        "provider", "add", app, "oauth2", *PUBLIC, "--name", "plain", "--person", "subject",
        "--authorization-endpoint", "https://a.example/authorize", "--token-endpoint", "https://a.example/token",
        "--userinfo-endpoint", "https://a.example/me", "--claim", "sub=user.id",
    )  # fmt: skip

    assert (apple["response_mode"], apple["has_secret"], apple["key_id"]) == ("form_post", True, "ABC123DEFG")
    assert (microsoft["tenants"], microsoft["claims"]) == ([TENANT], {"email_verified": "xms_edov"})
    assert github["trusted_domains"] == ["*"]
    assert (plain["issuer"], plain["person"], plain["claims"]) == (
        "https://a.example/me",
        "subject",
        {"sub": "user.id"},
    )


def test_who_trusts_nobody_or_everybody_is_told_what_that_means(admit: CommandLine, app: str) -> None:
    added = admit("provider", "add", app, "oidc", *PUBLIC, "--issuer", "https://a.example")
    assert "nobody new comes in by it" in added.err
    assert f"admit provider set {app} oidc --trust-email example.com" in added.err
    opened = admit("provider", "set", app, "oidc", "--trust-email", "*")
    assert opened.err == "Whoever runs oidc can sign in as anybody here who has an email address.\n"
    assert "trusted about\teverybody\n" in opened.out
    assert admit("provider", "set", app, "oidc", "--trust-email", "a.example").err == ""
    assert admit("provider", "set", app, "oidc", "--person", "subject", "--trust-email", "none").err == ""


def test_some_is_changed_and_the_rest_stays(admit: CommandLine, app: str) -> None:
    before = admit.json("provider", "add", app, "google", *WITH_SECRET, "--claim", "hd=hd")

    assert admit.json("provider", "set", app, "google", "--display-name", "Work") == before | {
        "display_name": "Work"
    }
    none = admit.json("provider", "set", app, "google", "--trust-email", "none", "--claim", "none")
    assert (none["trusted_domains"], none["claims"]) == ([], {})
    back = admit.json(
        "provider", "set", app, "google", "--trust-email", "default", "--display-name", "default"
    )
    assert (back["trusted_domains"], back["display_name"]) == (before["trusted_domains"], "Google")
    assert admit.json("provider", "set", app, "google", "--secret-file", "secret.txt") == back


def test_a_secret_and_trust_do_not_go_elsewhere_without_a_word(admit: CommandLine, app: str) -> None:
    before = admit.json("provider", "add", app, "google", *WITH_SECRET)
    elsewhere = ("provider", "set", app, "google", "--issuer", "https://id.example.com")

    assert "goes elsewhere, so give it, too" in admit.refused(*elsewhere, code=1)
    assert admit.json("provider", "show", app, "google") == before
    moved = admit(*elsewhere, "--secret-file", "secret.txt")
    assert "trusted about\tnobody\n" in moved.out
    assert "It is believed about no email address" in moved.err
    trusting = admit("provider", "set", app, "google", "--trust-email", "*")
    assert trusting.err == "Whoever runs Google can sign in as anybody here who has an email address.\n"


WRONG: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("google", "--client-id", "us", "--public"), "needs a client_secret", 1),
    (("google", *PUBLIC, "--secret-file", "secret.txt"), "With --public there is no secret", 2),
    (("google", "--client-id", "us", "--secret-file", "gone.txt"), "gone.txt cannot be read as text", 2),
    (("facebook", *PUBLIC), "'facebook' is not one of 'google'", 2),
    (("google",), "Missing option '--client-id'", 2),
    (("oidc", *PUBLIC), "needs an issuer, such as", 1),
    (("oidc", *PUBLIC, "--issuer", "http://a.example"), "https://", 1),
    (("oidc", *PUBLIC, "--issuer", "https://a.example", "--name", "email"), "another way in", 1),
    (("oidc", *PUBLIC, "--issuer", "https://a.example", "--tenant", TENANT), "belongs to microsoft", 1),
    (("oidc", *PUBLIC, "--issuer", "https://a.example", "--claim", "groups"), "Write it like", 2),
    (("oauth2", *PUBLIC), "authorization_endpoint", 1),
    (("apple", *WITH_SECRET, "--team-id", "DEF123GHIJ", "--key-id", "ABC123DEFG"), ".p8 file", 1),
)


def test_what_cannot_be_is_said(admit: CommandLine, app: str) -> None:
    for arguments, problem, code in WRONG:
        sentence = admit.refused("provider", "add", app, *arguments, code=code)
        assert problem in sentence, (arguments, sentence)
        assert SECRET not in sentence
    assert admit.json("provider", "list", app) == []


def test_an_unknown_app_or_provider_or_no_change_is_said(admit: CommandLine, app: str) -> None:
    assert "Is '" in admit.refused("provider", "list", app.replace("app", "ap"), code=3)
    assert "no provider 'x'" in admit.refused("provider", "set", app, "x", "--display-name", "y", code=3)
    assert "no provider 'x'" in admit.refused("provider", "test", app, "x", code=3)
    assert "no provider 'x'" in admit.refused("provider", "remove", app, "x", "--yes", code=3)
    assert "What is to change?" in admit.refused("provider", "set", app, "x", code=2)


def typed(admit: CommandLine, *arguments: str, stdin: str) -> Ended:
    """A command in a process of its own, with this on its standard input."""
    ended = subprocess.run(
        [*ADMIT, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=admit.folder,
        env=CLEAN | admit.environ,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def test_the_secret_is_read_from_the_standard_input(admit: CommandLine, app: str) -> None:
    added = typed(admit, "provider", "add", app, "google", "--client-id", "us", stdin=f"{SECRET}\n")
    assert added.code == 0
    assert SECRET not in added.out + added.err
    other = typed(admit, "provider", "set", app, "google", "--secret-file", "-", stdin="another\r\n")
    assert other.code == 0
    nothing = typed(admit, "provider", "add", app, "github", "--client-id", "us", stdin="\n")
    assert (nothing.code, nothing.out) == (2, "")
    assert nothing.err.startswith("Which client secret?")
    long = typed(admit, "provider", "add", app, "github", "--client-id", "us", stdin="x" * 20_000)
    assert (long.code, "one line" in long.err) == (1, True)


def test_at_a_terminal_the_secret_is_asked_for_and_not_shown(admit: CommandLine, app: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(admit.folder)
        command = [*ADMIT, "provider", "add", app, "google", "--client-id", "us", "--json"]
        os.execve(command[0], command, CLEAN | admit.environ)
    said = b""
    while b"not shown" not in said:
        said += os.read(terminal, 1_000)
    os.write(terminal, SECRET.encode() + b"\n")
    try:
        while piece := os.read(terminal, 10_000):
            said += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert SECRET.encode() not in said
    assert admit.json("provider", "show", app, "google")["has_secret"] is True


# Examinations


async def added(admit: CommandLine, app: str, op: HostileProvider, secret: str = CLIENT_SECRET) -> None:
    (Path(admit.folder) / "house.txt").write_text(secret)
    await asyncio.to_thread(
        admit.done, "provider", "add", app, "oidc", "--name", "house", "--issuer", op.base,
        "--client-id", CLIENT_ID, "--secret-file", "house.txt", "--trust-email", "example.com",
    )  # fmt: skip


async def test_a_provider_that_works_is_told_so_step_by_step(admit: CommandLine, app: str) -> None:
    async with hostile_provider() as op:
        await added(admit, app, op)
        ended = await asyncio.to_thread(admit, "provider", "test", app, "house")
        document = await asyncio.to_thread(admit.json, "provider", "test", app, "house")

    assert ended.code == 0
    assert ended.err == f"People can sign in to {app} by house.\n"
    steps = [line.split("\t")[0] for line in ended.out.splitlines()]
    assert "✓ discovery" in steps
    assert {step[0] for step in steps} == {"✓"}
    assert document["ok"] is True
    assert [f"✓ {each['step']}" for each in document["findings"]] == steps


async def test_what_is_wrong_with_a_provider_is_a_sentence_and_ends_with_1(
    admit: CommandLine, app: str
) -> None:
    async with hostile_provider() as op:
        await added(admit, app, op, secret=SECRET)
        ended = await asyncio.to_thread(admit, "provider", "test", app, "house")
        in_json = await asyncio.to_thread(admit, "provider", "test", app, "house", "--json")

    assert (ended.code, in_json.code) == (1, 1)
    assert "✓ discovery\t" in ended.out
    assert "✗ login\t" in ended.out
    assert ended.err.startswith("house cannot be used like this. ")
    assert in_json.err == ended.err
    assert '"ok": false' in in_json.out
    assert SECRET not in ended.out + ended.err + in_json.out


# Policies and settings


def test_a_policy_is_set_shown_and_unset_for_one_way(admit: CommandLine, app: str) -> None:
    admit.done("provider", "add", app, "google", *WITH_SECRET)

    assert (
        admit.done("policy", "set", app, "prod", "--for", "google")
        == f"The policy of {app} for google is prod (everybody comes in).\n"
    )
    assert "for google\tprod (everybody comes in)\n" in admit.done("policy", "show", app)
    assert "of\tgoogle alone\n" in admit.done("policy", "show", app, "--for", "google")
    assert f"of\t{app}: email_code has none of its own\n" in admit.done(
        "policy", "show", app, "--for", "email_code"
    )
    assert "policy for google\tprod (everybody comes in)\n" in admit.done("app", "show", app)
    assert (
        admit.done("policy", "unset", app, "--for", "google")
        == f"For google holds the policy of {app} again: eval (everybody comes in, on trial).\n"
    )
    assert admit.json("policy", "show", app)["policies"] == {}
    assert "no policy of its own" in admit.refused("policy", "unset", app, "--for", "google", code=3)
    assert "email_code, client_credentials and google" in admit.refused(
        "policy", "set", app, "prod", "--for", "gogle"
    )


def test_a_web_hook_is_told_as_much_as_was_chosen(admit: CommandLine, app: str) -> None:
    said = admit.done("policy", "set", app, "webhook", "https://a.example/decide", "--payload", "full")

    assert "decides within 5s, told all that is known;" in said
    assert admit.json("policy", "show", app)["policy"]["payload"] == "full"
    assert (
        admit.json("policy", "set", app, "webhook", "https://a.example/")["policy"]["payload"] == "contract"
    )
    assert "--payload belongs to the policy webhook" in admit.refused(
        "policy", "set", app, "eval", "--payload", "full", code=2
    )


def test_somebody_who_comes_by_a_provider_is_imagined(admit: CommandLine, app: str) -> None:
    admit.done("provider", "add", app, "google", *WITH_SECRET)
    admit.done("policy", "set", app, "webhook", "https://a.example/decide", "--payload", "full")
    simulate = ("policy", "simulate", app, "--email", "ada@example.com", "--for", "google")

    stranger = admit.json(*simulate)
    assert (stranger["outcome"], stranger["code"]) == ("refuse", "EMAIL_NOT_TRUSTED")
    assert "who\tnobody\n" in admit.done(*simulate)
    worker = admit.json(*simulate, "--claim", "hd=example.com", "--claim", "name=Ada")
    assert (worker["outcome"], worker["told"]["name"]) == ("ask", "Ada")
    assert "it is told\t{" in admit.done(*simulate, "--claim", "hd=example.com")
    assert admit.json(*simulate, "--unverified")["code"] == "EMAIL_NOT_VERIFIED"
    assert "Write it like hd=example.com" in admit.refused(*simulate, "--claim", "hd", code=2)


def test_mailed_codes_are_switched_off_and_on(admit: CommandLine, app: str) -> None:
    ended = admit("setting", "set", app, "--mailed-codes", "off", "--sso-any-network", "on")

    assert "mailed codes\toff\n" in ended.out
    assert "back from a provider\tin any network\n" in ended.out
    assert "nobody can sign in now" in ended.err
    admit.done("provider", "add", app, "google", *WITH_SECRET)
    assert admit("setting", "set", app, "--mailed-codes", "off").err == ""
    settings = admit.json("setting", "set", app, "--mailed-codes", "on", "--sso-any-network", "off")
    assert (settings["mailed_codes"], settings["sso_any_network"]) == (True, False)
    assert "'maybe' is not one of 'on', 'off'" in admit.refused(
        "setting", "set", app, "--mailed-codes", "maybe", code=2
    )
