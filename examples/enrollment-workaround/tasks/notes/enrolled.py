"""The same without a workaround."""

from admit import task


@task.on("device.enrolled", once="device")
def enrolled(context: task.EventContext) -> None:
    """Is run once for each device of each person, by the enrollment itself."""
    context.log.info("the event has told it", user=context.user.user_id, device=context.deviceIdentifier)
