"""What a timeline says of each entry: a heading and a sentence, on a page and in a terminal alike. Pure."""

from collections.abc import Mapping
from typing import Any, Literal, assert_never

from admit.web.admin_types import AdmissionView
from admit.web.deliveries_api import DeliveryView
from admit.web.events_api import EventView
from admit.web.task_types import RunView
from admit.web.timeline_api import TimelineEntry

Tone = Literal["", "good", "warn", "bad"]

_EVENTS: Mapping[str, tuple[str, Tone]] = {
    "user.enrolled": ("Enrolled", "good"),
    "user.updated": ("Changed", ""),
    "user.upgraded": ("Became a production user", "good"),
    "user.expired": ("The license has ended", "warn"),
    "user.deactivated": ("Deactivated", "warn"),
    "user.reactivated": ("Let in again", "good"),
    "user.locked": ("Locked out of every device", "warn"),
    "user.unlocked": ("Unlocked", "good"),
    "user.deleted": ("Deleted", "bad"),
    "user.identity_linked": ("Signed in by another way for the first time", ""),
    "user.identity_unlinked": ("An identity was taken away", "warn"),
    "user.impersonated": ("An owner signed in as this person", "warn"),
    "device.enrolled": ("Enrolled on a device", ""),
    "device.refused": ("Refused on one more device", "bad"),
    "session.started": ("A session was opened", ""),
    "session.locked": ("A session was locked", "warn"),
    "session.unlocked": ("A session was unlocked", "good"),
    "session.wiped": ("A session was wiped", "bad"),
    "session.wipe_confirmed": ("The device says that it is wiped", ""),
    "session.ended": ("A session ended", ""),
}
_REASONS = {
    "locked": "by an operator",
    "user_locked": "with the person",
    "device_limit": "in favour of a newer device",
    "reauthenticate": "until the person signs in again",
    "logged_out": "signed out",
    "replaced": "enrolled anew on the device",
    "expired": "it was not renewed in time",
    "inactive": "nothing was heard of it for too long",
    "valid_until": "its last day has passed",
    "eval_days_left": "the last active day of the trial was used",
}
_PROPERTIES = {
    "type": "the type",
    "valid_until": "the last day",
    "eval_days_left": "the days of the trial",
    "name": "the name",
    "email": "the email",
    "data": "the data",
}


def heading(entry: TimelineEntry) -> str:
    """What happened, in a few words."""
    if entry.decision is not None:
        return _decided(entry.decision)
    if entry.delivery is not None:
        return _delivery(entry.delivery)
    if entry.run is not None:
        return _run(entry.run)
    assert entry.event is not None
    return _EVENTS.get(entry.event.type, (entry.event.type, ""))[0]


def tone(entry: TimelineEntry) -> Tone:
    """Whether that is good news."""
    if entry.decision is not None:
        return {"refused": "bad", "": "warn"}.get(entry.decision.verdict, "good")  # type: ignore[return-value]
    if entry.delivery is not None:
        return _tone_of(entry.delivery.state, entry.delivery.attempts)
    if entry.run is not None:
        return _tone_of(entry.run.state, entry.run.attempts)
    assert entry.event is not None
    return _EVENTS.get(entry.event.type, ("", ""))[1]


def sentence(entry: TimelineEntry) -> str:
    """What else there is to say; "": nothing."""
    if entry.decision is not None:
        return _why(entry.decision)
    if entry.delivery is not None:
        return entry.delivery.detail
    if entry.run is not None:
        return entry.run.detail
    assert entry.event is not None
    return _told(entry.event)


def _decided(decision: AdmissionView) -> str:
    match decision.verdict:
        case "":
            return "A decision is being made"
        case "refused":
            return "Refused"
        case verdict:
            return f"Admitted as {verdict}"


def _why(decision: AdmissionView) -> str:
    parts = [f"Policy {decision.policy}, version {decision.policy_version}"]
    if decision.attempts:
        parts[0] += f", in {decision.latency_ms} ms"
    if decision.reason:
        parts[0] += f": {decision.reason}"
    told = ". ".join(each.rstrip(".") for each in parts) + "."
    return f"{told} The person read: “{decision.message}”" if decision.message else told


def _delivery(delivery: DeliveryView) -> str:
    what = delivery.type or "Something"
    match delivery.state:
        case "delivered":
            return f"{what} was delivered"
        case "failed":
            return f"{what} could not be delivered"
        case "waiting" if delivery.attempts:
            return f"{what} waits for another try"
        case "waiting":
            return f"{what} is due"
        case "blocked":
            return f"{what} waits for an earlier delivery"
        case "sending":
            return f"{what} is being delivered"
        case _:
            assert_never(delivery.state)


def _run(run: RunView) -> str:
    task = f"Task {run.task}" if run.task else "A task"
    ends = {
        "waiting": "waits for another try" if run.attempts else "is due",
        "blocked": "waits for an earlier run",
        "running": "is running",
        "done": "finished",
        "failed": "failed",
        "cancelled": "was cancelled",
    }
    return f"{task} {ends[run.state]}"


def _tone_of(state: str, attempts: int) -> Tone:
    if state in ("delivered", "done"):
        return "good"
    if state == "failed":
        return "bad"
    return "warn" if attempts and state == "waiting" else ""


def _told(event: EventView) -> str:
    data = event.data
    parts = [_reason(data), _changed(data), _by(data), _device(data), _session(data)]
    told = ", ".join(each for each in parts if each)
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def _reason(data: Mapping[str, Any]) -> str:
    return _REASONS.get(str(data.get("reason", "")), "")


def _changed(data: Mapping[str, Any]) -> str:
    return " and ".join(_PROPERTIES.get(each, each) for each in data.get("changed", ()))


def _by(data: Mapping[str, Any]) -> str:
    if actor := data.get("actor"):
        return f"by {actor}"
    method = data.get("sign_in", {}).get("method", "")
    return f"by {method.replace('_', ' ')}" if method else ""


def _device(data: Mapping[str, Any]) -> str:
    device = data.get("device", {})
    if not device:
        return ""
    unnamed = "an unnamed device" if device.get("derived") else device.get("identifier", "")
    name = device.get("platform") or unnamed
    return f"on {name}" + (", for the first time" if device.get("first_for_device") else "")


def _session(data: Mapping[str, Any]) -> str:
    ordinal = data.get("session", {}).get("ordinal")
    return f"session {ordinal}" if ordinal else ""
