"""Who may come in."""

from admit import task


@task.decides
def door(context: task.DecisionContext) -> task.Verdict:
    """Lets our own people in for good, and guests on trial."""
    domain = context.email.rpartition("@")[2]
    if domain == "example.com":
        return task.admit("prod", data={"plan": "team"})
    if domain == "example.net":
        return task.refuse("NOT_INVITED", "Ask your administrator for an invitation.", reason=domain)
    context.log.info("a guest", domain=domain)
    return task.admit("eval")
