"""What follows an enrollment."""

from admit import task


@task.on("device.enrolled", once="device", env=["RECEIVER_URL"])
def welcome(context: task.EventContext) -> None:
    """Tells our own system of each device of each person, once."""
    who = {"user": context.user.user_id, "device": context.deviceIdentifier}
    context.log.info("a new device", **who)
    context.http.post(context.env["RECEIVER_URL"], json=who).raise_for_status()
