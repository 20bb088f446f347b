"""Endpoints of web hooks of the data model: what they are told of follows from the model."""

from difflib import get_close_matches

from msgspec import UNSET
from msgspec.structs import replace

from admit.data import hook_subscriptions, models
from admit.data.model import Model
from admit.errors import InvalidRequest
from admit.events import log, subscriptions
from admit.storage.transaction import Transaction
from admit.webhooks.endpoint_settings import EndpointSettings

SHOWN_CHARACTERS = 80


def resolved(
    tx: Transaction, app_id: str, settings: EndpointSettings, before: EndpointSettings | None
) -> EndpointSettings:
    """`settings` with what the data model says of their hook, if they name one.

    Raises InvalidRequest (hook_unknown) for a hook that the model does not have, unless the endpoint had it
    `before`: then it is silent until the model has it again.
    """
    hook = settings.filter.hook
    if hook is UNSET:
        return settings
    # Held, so that a model which is changed at the same time finds the endpoint, or is found.
    log.audience_changes(tx, app_id)
    stored = models.find(tx, app_id)
    model = Model() if stored is None else stored.model
    known = before is not None and before.hook == hook.name
    if model.hook(hook.name) is None and not known:
        raise _unknown(hook.name, model)
    told = hook_subscriptions.told_of(model, hook.name)
    return replace(settings, events=told.types, filter=replace(settings.filter, hook=told.hook))


def follow(tx: Transaction, app_id: str, topic: str) -> None:
    """Has all endpoints of hooks told what the model of the app, which has just been changed, says of them.

    `topic`: that of the signals that an endpoint has changed.
    """
    log.audience_changes(tx, app_id)
    stored = models.find(tx, app_id)
    model = Model() if stored is None else stored.model
    for each in subscriptions.of_app(tx, app_id).values():
        hook = each.filter.hook
        if hook is UNSET or hook.lane:
            continue
        told = hook_subscriptions.told_of(model, hook.name)
        anew = replace(each, types=told.types, filter=replace(each.filter, hook=told.hook))
        if anew != each:
            subscriptions.put(tx, anew)
            tx.signal(topic, anew.subscriber_id)


def _unknown(name: str, model: Model) -> InvalidRequest:
    near = get_close_matches(name, [hook.name for _, hook in model.hooks()], n=1)
    meant = f" Is {near[0]!r} meant?" if near else ""
    return InvalidRequest(
        f"The data model of this app has no web hook {name[:SHOWN_CHARACTERS]!r}.{meant} `admit model show` "
        "lists them.",
        code="hook_unknown",
    )
