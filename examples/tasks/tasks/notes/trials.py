"""Guests whose trial ends."""

from admit import task


@task.every("0 7 * * *", timezone="Europe/Berlin")
def trials(context: task.ScheduleContext) -> None:
    """Looks every morning whose trial is about to end."""
    for user in context.db.users.find(type="eval"):
        if user.eval_days_left <= 3:
            context.call("prolong", {"user": user.user_id, "days": 14}, queue="trials")


@task.called
def prolong(context: task.CallContext) -> dict[str, object]:
    """Gives somebody more days."""
    user = context.db.users.get(context.parameters["user"])
    if user is None:
        raise LookupError(f"{context.parameters['user']} does not live here")
    days = user.eval_days_left + context.parameters["days"]
    context.db.users.update(user, eval_days_left=days)
    context.log.info("prolonged", user=user.user_id, days=days)
    return {"user": user.user_id, "days": days}
