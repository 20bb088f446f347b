"""A form on our own page."""

from admit import task


@task.http("/invite", authenticate=task.bearer("INVITE_KEY"))
def invite(context: task.RequestContext) -> object:
    """Makes an account for somebody who has never signed in."""
    email = context.json()["email"]
    if context.db.users.get(email) is not None:
        return task.response(409, json={"message": f"{email} lives here already."})
    context.db.users.create(email, type="prod", data={"plan": "team"})
    return {"invited": email}
