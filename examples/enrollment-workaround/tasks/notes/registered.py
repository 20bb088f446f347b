"""The workaround's other half: the task that is run when a client has registered itself."""

from urllib.parse import quote

from admit import task


@task.called(env=["SERVER", "ADMIT_TOKEN"])
def registered(context: task.CallContext) -> None:
    """Deals with each active session of that person on that device, once."""
    user_id, device_id = (context.parameters["object"][name] for name in ("user_id", "device_id"))
    sessions = context.http.get(
        f"{context.env['SERVER']}/api/v4/{context.app.name}/users/{quote(user_id, safe='')}/sessions",
        params={"device": device_id, "active": "true"},
        headers={"Authorization": f"Bearer {context.env['ADMIT_TOKEN']}"},
    ).raise_for_status()
    user = context.db.users.get(user_id)
    if user is None:
        return
    data = user.data or {}
    processed = data.get("processed_sessions", [])
    for session in sessions.json()["objects"]:
        if session["id"] not in processed:
            context.log.info("the workaround has heard of it", user=user_id, device=device_id)
            processed = [*processed, session["id"]]
    context.db.users.update(user, data={**data, "processed_sessions": processed})
