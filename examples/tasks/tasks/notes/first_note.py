"""What lies ready for people."""

from admit import task


@task.on("user.enrolled", once="user")
def first_note(context: task.EventContext) -> None:
    """Puts a first note among those of whoever has come in."""
    notes = context.db.table("notes")
    notes.put({"title": "Welcome", "done": False}, realm=context.user.user_id, key="#welcome")


@task.called
def open_notes(context: task.CallContext) -> dict[str, int]:
    """Counts what everybody has still to do, for all to read."""
    count = sum(not note.value.get("done") for note in context.db.table("notes"))
    context.db.table("totals").put({"id": "open", "count": count}, realm="rlm-public")
    return {"open": count}
