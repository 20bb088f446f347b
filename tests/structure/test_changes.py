"""No secret that an operation takes or gives can come into the list of what operators changed."""

import re
from typing import Any

import msgspec

from admit.web.app import OPERATIONS
from admit.web.change_contents import PLAIN, SECRETS, structs_in

SMELLS = re.compile(
    r"secret|passw|token|key|private|credential|headers|\blink\b|\burl\b|qr_svg", re.IGNORECASE
)
NOT_SECRET = frozenset(
    {
        "ClientView.secret_changed_at",
        "DeliveryHistory.url",
        "EndpointFigures.url",
        "EndpointSecret.headers",
        "EndpointSecret.public_key",
        "EndpointSecret.secrets",
        "EndpointSecret.url",
        "EndpointView.headers",
        "EndpointView.secrets",
        "EndpointView.url",
        "EnrollmentTokenPage.tokens",
        "EnrollmentTokenView.token_id",
        "ErasureView.enrollment_tokens",
        "IssuedEnrollmentToken.token_id",
        "NewEndpoint.url",
        "NewPolicy.url",
        "NewProvider.key_id",
        "NewProvider.token_endpoint",
        "ObjectView.key",
        "OperatorView.has_password",
        "OperatorView.passkeys",
        "PolicyQuery.secret",
        "PolicySetting.url",
        "ProviderChange.key_id",
        "ProviderChange.token_endpoint",
        "ProviderView.has_secret",
        "ProviderView.key_id",
        "ProviderView.token_endpoint",
        "SecretView.public_key",
        "SentRequest.url",
        "SettingsChange.url",
        "SimulationResult.url",
        "TableChange.primary_key",
        "TableView.primary_key",
        "TokenSecret.token_id",
        "TokenView.token_id",
        "UserPage.back_key",
        "UserPage.paging_key",
        "UsersQuery.paging_key",
        "WouldChange.key",
        "WouldSend.url",
    }
)
"""What smells like a secret and is none: the name of one, its digest, what is public, an address."""


def fields_of_operators() -> set[str]:
    """`Type.field` of all that operations for operators take and give."""
    found: set[str] = set()
    seen: set[type[msgspec.Struct]] = set()

    def walk(kind: Any) -> None:
        for struct in structs_in(kind):
            if struct not in seen:
                seen.add(struct)
                for field in msgspec.structs.fields(struct):
                    found.add(f"{struct.__name__}.{field.name}")
                    walk(field.type)

    for operation in OPERATIONS:
        if operation.access.startswith("operator"):
            for kind in (operation.query, operation.body, operation.answer):
                walk(kind)
    return found


def test_what_smells_like_a_secret_is_told_to_be_one_or_not() -> None:
    smelling = {each for each in fields_of_operators() if SMELLS.search(each.partition(".")[2])}
    assert smelling - SECRETS - NOT_SECRET == set()


def test_nothing_is_told_to_be_a_secret_that_is_not_there() -> None:
    assert fields_of_operators() >= SECRETS
    assert fields_of_operators() >= NOT_SECRET
    assert SECRETS.isdisjoint(NOT_SECRET)


def test_no_secret_is_plain_where_people_are_told_of() -> None:
    assert PLAIN.isdisjoint(each.partition(".")[2] for each in SECRETS)
