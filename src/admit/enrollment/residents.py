"""Who at the door lives here already: by issuer and subject first, then by the userId of the proof."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from admit.accounts import identities, users
from admit.accounts.identities import IdentityKey
from admit.accounts.users import User
from admit.signin.proof import Proof
from admit.storage.transaction import Transaction

Caller = tuple[str, Proof]
"""An app_id, and who is at its door."""


class Resident(msgspec.Struct, frozen=True):
    """Somebody who lives here. `linked`: the identity of the proof leads to them, or it needs no link."""

    user: User
    linked: bool


def find(tx: Transaction, callers: Sequence[Caller]) -> list[Resident | None]:
    """The residents at the door; None for strangers. List form."""
    owners = identities.owners(tx, [identity_of(each) for each in callers if each[1].provider])
    rest = [
        (app_id, proof.user_id)
        for app_id, proof in callers
        if proof.user_id and identity_of((app_id, proof)) not in owners
    ]
    known = users.by_user_id(tx, rest) if rest else {}
    return [_resident(each, owners, known) for each in callers]


def link(tx: Transaction, links: Sequence[tuple[Caller, User]], now: int) -> list[bool]:
    """Lets each proof's identity lead to its user, who is held, and tells of those that are new.

    False: it leads to somebody else since a moment ago.
    """
    made = [(identity_of(caller), user, caller[1].sign_in) for caller, user in links]
    return identities.link(tx, made, now)


def identity_of(caller: Caller) -> IdentityKey:
    """Under what the person is kept who is at the door."""
    app_id, proof = caller
    return app_id, proof.issuer, proof.subject


def contested(proof: Proof, user: User) -> Literal["unproven", "unverified"] | None:
    """What stands between the two where only one of them has proven the address that the userId is.

    unproven: the owner has come, and nobody had proven it before. unverified: a backend says that anybody
    may have typed it, and its owner has been here.
    """
    if proof.unproven:
        return "unverified" if user.email_verified else None
    proves = proof.method != "client_credentials" and proof.email_verified and proof.user_id == user.user_id
    return "unproven" if proves and not user.email_verified else None


def needs_hold(proof: Proof, resident: Resident) -> bool:
    """Whether it matters that nobody else changes or deletes the resident until the login is written."""
    return not resident.linked or proof.unproven


def _resident(
    caller: Caller, owners: dict[IdentityKey, User], known: dict[users.Key, User]
) -> Resident | None:
    app_id, proof = caller
    if proof.provider and (owner := owners.get(identity_of(caller))) is not None:
        return Resident(owner, linked=True)
    user = known.get((app_id, proof.user_id))
    return None if user is None else Resident(user, linked=not proof.provider)
