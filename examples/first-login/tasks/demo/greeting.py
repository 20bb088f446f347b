"""The tasks of the demo. Change this file while the server runs: it is read anew."""

from admit import task


@task.on("device.enrolled", once="device")
def welcome(context: task.EventContext) -> None:
    """Greets everybody, once on each of their devices."""
    who = context.user.name or context.user.user_id
    number = len(context.db.devices.of(context.user.user_id))
    context.log.info(f"Welcome, {who}!", device=context.deviceIdentifier, devices=number)
