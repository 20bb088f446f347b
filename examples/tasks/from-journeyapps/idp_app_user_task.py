"""What idp_app_user_task and its extractIdentity({claims, context}) become."""

from admit import task


@task.decides
def idp_app_user_task(context: task.DecisionContext) -> task.Verdict:
    """Lets in whom the directory has in our group."""
    if "app-users" not in context.claims.get("groups", []):
        return task.refuse("NOT_IN_GROUP", "Your account has no access to this app.")
    return task.admit(
        "prod",
        name=context.name,
        data={"department": context.claims.get("department"), "enrolled_on": context.deviceIdentifier},
    )


@task.on("session.started", methods=["sso"])
def known_user(context: task.EventContext) -> None:
    """Runs at each sign-in by a provider, also of those who live here already."""
    devices = context.db.devices.of(context.user.user_id)
    context.log.info("signed in", device=context.deviceIdentifier, devices=len(devices))
