"""Who may sign in as somebody else of an app, to see what that person sees. Pure."""

from admit.accounts.apps import App

FULL_ACCESS = frozenset({"GLOBAL_READ", "GLOBAL_WRITE"})


def may_act_for_others(app: App, email: str, now: int) -> bool:
    """Whether the owner of the normalised `email` owns the app, or an active client with full access."""
    return email in app.owners or any(
        client.owner == email and client.scopes >= FULL_ACCESS and client.state(now) == "active"
        for client in app.clients.values()
    )
