"""Tasks that receive web hooks of the data model: each hook has a subscription, to the lane of the task."""

from collections.abc import Mapping

from msgspec.structs import replace

from admit.data import hook_subscriptions, models
from admit.events import log, subscriptions
from admit.events.subscriptions import Filter, Subscription
from admit.storage.transaction import Transaction
from admit.tasks import run_orders
from admit.tasks.run_orders import OwedHook
from admit.tasks.schedules import KIND

_MARK = "/"
"""Between the id of a task and the name of a hook, in the ids of these subscribers."""


def follow(tx: Transaction, app_id: str, called: Mapping[str, str]) -> None:
    """Makes the subscriptions of hooks what model and code ask for. `called`: the ids of the tasks that are
    called by their names, by name.

    The caller holds the tasks of the app. A hook whose task there is not yet waits for the code; a run that
    is owed to one which the model no longer has ends when its turn comes.
    """
    present = {
        subscriber: each
        for subscriber, each in subscriptions.of_app(tx, app_id).items()
        if each.kind == KIND and _MARK in subscriber
    }
    wanted = _wanted(tx, app_id, called)
    if present == wanted:
        return
    log.audience_changes(tx, app_id)
    for subscriber in present.keys() - wanted.keys():
        subscriptions.remove(tx, app_id, subscriber)
    for subscriber, subscription in wanted.items():
        if present.get(subscriber) != subscription:
            subscriptions.put(tx, subscription)


def _wanted(tx: Transaction, app_id: str, called: Mapping[str, str]) -> dict[str, Subscription]:
    stored = models.find(tx, app_id)
    if stored is None:
        return {}
    found = {}
    for _, hook in stored.model.hooks():
        if hook.task not in called:
            continue
        task_id = called[hook.task]
        told = hook_subscriptions.told_of(stored.model, hook.name)
        payload = run_orders.encode(OwedHook(hook=hook.name))
        subscription = Subscription(
            app_id=app_id,
            subscriber_id=f"{task_id}{_MARK}{hook.name}",
            kind=KIND,
            types=told.types,
            filter=Filter(hook=replace(told.hook, lane=task_id, payload=payload)),
        )
        found[subscription.subscriber_id] = subscription
    return found
