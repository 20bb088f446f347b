"""/api/apps/{app}/model: the data model of an app, and the key that signs what its web hooks tell."""

from functools import partial

from msgspec import UNSET
from starlette.responses import Response

from admit.data import model_file, models
from admit.data.model import Hook, Model, ModelOf, Relation
from admit.data.model_file import ModelRefused, Problem
from admit.errors import InvalidRequest
from admit.events import subscriptions
from admit.storage.transaction import Transaction
from admit.tasks import registrations
from admit.web.model_types import (
    CheckedModel,
    HookView,
    ModelOfView,
    ModelProblem,
    ModelView,
    NewModel,
    RelationView,
)
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.webhooks import endpoints, hook_endpoints, journey_signing

SOURCE_BYTES_MAX = 2_000_000
PROBLEMS_SHOWN_MAX = 5


async def show_model(call: Call) -> Response:
    """The data model, and what its web hooks lead to."""
    app = await permitted_app(call)
    return call.answer(await call.gateway.db.read(partial(_view, app_id=app.app_id)))


async def set_model(call: Call) -> Response:
    """Makes a text the data model of the app. What is written from then on fires its web hooks."""
    app, gateway = await permitted_app(call), call.gateway
    source = (await call.json(NewModel)).source
    try:
        model = model_file.read(source)
    except ModelRefused as refused:
        raise InvalidRequest(_sentence(refused.problems), code="model_refused") from None
    unit = partial(_set, app_id=app.app_id, source=source, model=model, now=gateway.clock())
    await gateway.db.write(unit)
    return call.answer(await gateway.db.read(partial(_view, app_id=app.app_id)))


async def check_model(call: Call) -> Response:
    """Says what a text would be as the data model of the app. Nothing is changed."""
    app, source = await permitted_app(call), (await call.json(NewModel)).source
    try:
        model = model_file.read(source)
    except ModelRefused as refused:
        problems = [ModelProblem(line=each.line, message=each.message) for each in refused.problems]
        return call.answer(CheckedModel(problems=problems, models=[], hooks=[], lost=[]))
    return call.answer(await call.gateway.db.read(partial(_checked, app_id=app.app_id, model=model)))


async def rotate_model_key(call: Call) -> Response:
    """Gives the app a new RSA key for what its web hooks tell; the former one is published for a day."""
    app, gateway = await permitted_app(call), call.gateway
    await journey_signing.rotate(gateway.db, gateway.ring, app.app_id, gateway.clock())
    return call.done()


def _set(tx: Transaction, app_id: str, source: str, model: Model, now: int) -> None:
    models.put(tx, app_id, source, model, now)
    registrations.hear_of_model(tx, app_id)
    hook_endpoints.follow(tx, app_id, endpoints.TOPIC)


def _checked(tx: Transaction, app_id: str, model: Model) -> CheckedModel:
    stored = models.find(tx, app_id)
    present = [] if stored is None else _hooks(tx, app_id, stored.model)
    kept = {hook.name for _, hook in model.hooks()}
    return CheckedModel(
        problems=[],
        models=[each.name for each in model.models],
        hooks=_hooks(tx, app_id, model),
        lost=[each for each in present if each.name not in kept],
    )


def _view(tx: Transaction, app_id: str) -> ModelView:
    stored = models.find(tx, app_id)
    if stored is None:
        return ModelView(version="", source="", models=[], described=[], hooks=[], changed_at=None)
    return ModelView(
        version=str(stored.version),
        source=stored.source,
        models=[each.name for each in stored.model.models],
        described=[_described(each) for each in stored.model.models],
        hooks=_hooks(tx, app_id, stored.model),
        changed_at=stored.changed_at,
    )


def _described(of: ModelOf) -> ModelOfView:
    return ModelOfView(
        name=of.name,
        table=of.table,
        fields={each.name: each.type for each in of.fields},
        belongs_to=[_relation(each) for each in of.belongs_to],
        has_many=[_relation(each) for each in of.has_many],
    )


def _relation(relation: Relation) -> RelationView:
    return RelationView(name=relation.name, model=relation.model, member=relation.member)


def _hooks(tx: Transaction, app_id: str, model: Model) -> list[HookView]:
    called = {each.name for each in registrations.of_app(tx, app_id) if each.live and each.kind == "called"}
    told: dict[str, list[str]] = {}
    for subscriber, each in sorted(subscriptions.of_app(tx, app_id).items()):
        if each.filter.hook is not UNSET and each.kind == endpoints.KIND:
            told.setdefault(each.filter.hook.name, []).append(subscriber)
    return [_hook(of, hook, called, told) for of, hook in model.hooks()]


def _hook(of: ModelOf, hook: Hook, called: set[str], told: dict[str, list[str]]) -> HookView:
    return HookView(
        name=hook.name,
        model=of.name,
        type=hook.type,
        task=hook.task,
        task_declared=hook.task in called,
        required=[".".join(path) for path in hook.required],
        embedded=[".".join(path) for path in hook.embedded],
        endpoints=told.get(hook.name, []),
    )


def _sentence(problems: tuple[Problem, ...]) -> str:
    shown = [f"line {each.line}: {each.message}" if each.line else each.message for each in problems]
    more = len(shown) - PROBLEMS_SHOWN_MAX
    rest = f" And {more} more: `admit model check` lists them." if more > 0 else ""
    return f"The data model cannot be used: {' '.join(shown[:PROBLEMS_SHOWN_MAX])}{rest}"


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/model",
        show_model,
        "Shows the data model and its web hooks",
        "webhooks:read",
        answer=ModelView,
    ),
    admin(
        "PUT",
        "/apps/{app}/model",
        set_model,
        "Sets the data model",
        "webhooks:write",
        body=NewModel,
        body_bytes_max=SOURCE_BYTES_MAX,
        answer=ModelView,
        codes=("model_refused",),
    ),
    admin(
        "POST",
        "/apps/{app}/model/check",
        check_model,
        "Says what a text would be as the data model, and all that is wrong with it",
        "webhooks:read",
        body=NewModel,
        body_bytes_max=SOURCE_BYTES_MAX,
        answer=CheckedModel,
    ),
    admin(
        "POST",
        "/apps/{app}/model/key",
        rotate_model_key,
        "Gives the app a new RSA key for what its web hooks tell",
        "webhooks:write",
    ),
)
