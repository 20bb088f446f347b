"""The catalog: which events there are, what they carry, and what of it is personal."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from admit.events.catalog import TYPES, Data, Device, Person, RefusedDevice
from admit.events.examples import EXAMPLES
from admit.events.privacy import (
    KEPT_OF_HOOK,
    OF_CLIENT,
    OF_HOOK,
    OF_IDENTITY,
    OF_OBJECT,
    PERSONAL,
    erased,
    impersonal,
    without_person,
)

ABOUT_PEOPLE = [each for each in TYPES if not each.startswith(("data.", "endpoint.", "object.", "test."))]


def json_of(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def names_in(value: Any) -> list[str]:
    """The names of all members, at any depth."""
    if not isinstance(value, dict):
        return []
    return [name for member, inner in value.items() for name in (member, *names_in(inner))]


def test_these_are_the_types_that_endpoints_may_ask_for() -> None:
    assert " ".join(TYPES) == (
        "user.enrolled user.refused user.updated user.upgraded user.expired user.deactivated "
        "user.reactivated user.locked user.unlocked user.deleted user.identity_linked "
        "user.identity_unlinked user.impersonated device.enrolled device.refused session.started "
        "session.locked session.unlocked session.wiped session.wipe_confirmed session.ended "
        "data.changed object.ready object.updated endpoint.failing endpoint.disabled test.ping"
    )


def test_every_example_is_of_its_type() -> None:
    assert {name: type(data) for name, data in EXAMPLES.items()} == TYPES


@pytest.mark.parametrize("event_type", TYPES)
def test_what_does_not_apply_is_absent(event_type: str) -> None:
    told = msgspec.json.encode(EXAMPLES[event_type])
    assert b"null" not in told
    for name in TYPES[event_type].__struct_fields__:
        assert (name in json_of(EXAMPLES[event_type])) is (getattr(EXAMPLES[event_type], name) is not UNSET)


@pytest.mark.parametrize("event_type", [each for each in TYPES if not each.startswith(("data.", "object."))])
def test_names_of_members_are_snake_case(event_type: str) -> None:
    assert [name for name in names_in(json_of(EXAMPLES[event_type])) if not name.islower()] == []


@pytest.mark.parametrize("event_type", ABOUT_PEOPLE)
def test_only_the_user_has_members_with_the_names_of_personal_ones(event_type: str) -> None:
    """Erasure finds what is left to erase by these names."""
    told = json_of(EXAMPLES[event_type])
    del told["user"]
    assert set(names_in(told)).isdisjoint(PERSONAL)
    told.pop("device", None)
    told.pop("identity", None)
    assert {OF_CLIENT, OF_IDENTITY, "derived"}.isdisjoint(names_in(told))
    assert {type(EXAMPLES[event_type].user).__name__} <= {"Person", "Stranger"}  # type: ignore[union-attr]


def from_a_named_device(data: Data) -> Data:
    """`data` with what a client may say of its device, where there is one."""
    device: Device | RefusedDevice | None = getattr(data, "device", None)
    if isinstance(device, Device):
        device = replace(device, identifier=NAMED, derived=False, platform=NAMED)
    elif isinstance(device, RefusedDevice):
        device = replace(device, identifier=NAMED, derived=False)
    else:
        return data
    return replace(data, device=device)


NAMED = 'Ada Lovelace\'s "derived":true iPhone'


@pytest.mark.parametrize("event_type", TYPES)
def test_a_thin_event_lacks_the_person_only(event_type: str) -> None:
    example = from_a_named_device(EXAMPLES[event_type])
    expected = json_of(example)
    for name in PERSONAL:
        expected.get("user", {}).pop(name, None)
    expected.get("identity", {}).pop(OF_IDENTITY, None)
    for change in expected.get("changes", ()):
        for name in OF_OBJECT:
            change.pop(name, None)
    for name in expected.get(OF_HOOK, {}).keys() - set(KEPT_OF_HOOK):
        del expected[OF_HOOK][name]
    assert msgspec.json.decode(without_person(msgspec.json.encode(example))) == expected


@pytest.mark.parametrize("event_type", TYPES)
def test_both_ways_of_erasing_agree(event_type: str) -> None:
    for example in (EXAMPLES[event_type], from_a_named_device(EXAMPLES[event_type])):
        told = msgspec.json.encode(example)

        left = erased(told)

        assert left == msgspec.json.encode(impersonal(example))
        expected = json_of(example)
        for name in PERSONAL:
            expected.get("user", {}).pop(name, None)
        expected.get("identity", {}).pop(OF_IDENTITY, None)
        if (device := expected.get("device")) and not device["derived"]:
            device.pop(OF_CLIENT, None)
            first_seen = device.get("first_seen")
            device["identifier"] = f"erased_{first_seen}" if first_seen else "erased"
            device["derived"] = True
        expected |= {"changes": []} if "changes" in expected else {}
        expected.pop(OF_HOOK, None)
        assert msgspec.json.decode(left) == expected
        assert b"Ada" not in left
        assert erased(left) == left


def test_members_that_a_later_version_added_survive() -> None:
    told = b'{"new":1.50,"user":{"uid":"u","email":"a","later":{"name":"x"}},"user_name":"n"}'
    left = b'{"new":1.50,"user":{"uid":"u","later":{"name":"x"}},"user_name":"n"}'
    assert without_person(told) == erased(told) == left


def test_what_a_later_version_told_of_a_device_survives_erasure() -> None:
    told = b'{"device":{"later":1.50,"identifier":"Ada","derived":false,"first_seen":"2026"}}'
    left = b'{"device":{"later":1.50,"identifier":"erased_2026","derived":true,"first_seen":"2026"}}'
    assert erased(told) == left


def test_data_of_the_operator_is_told_as_it_is_stored() -> None:
    person = Person(uid="u", user_id="ada", type="eval", data=msgspec.Raw('{"n": 1e400, "a":"\\ud800"}'))
    assert msgspec.json.encode(person) == (
        b'{"uid":"u","user_id":"ada","type":"eval","data":{"n": 1e400, "a":"\\ud800"}}'
    )
