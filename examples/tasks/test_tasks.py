"""The tasks of notes: PYTHONPATH=tasks/notes python -m pytest test_tasks.py"""

from door import door
from welcome import welcome

from admit import task, testing

RECEIVER = "https://crm.example.com/devices"


def test_our_own_people_come_in_for_good_and_guests_on_trial() -> None:
    assert door(testing.decision("ada@example.com")) == task.admit("prod", data={"plan": "team"})
    assert door(testing.decision("grace@elsewhere.org")) == task.admit("eval")


def test_a_new_device_is_told_under_one_key() -> None:
    http = testing.Http()
    http.reply("POST", RECEIVER, 204)
    context = testing.event("device.enrolled", device="phone", http=http, env={"RECEIVER_URL": RECEIVER})

    welcome(context)

    (sent,) = http.requests
    assert sent.json() == {"user": "ada@example.com", "device": "phone"}
    assert sent.key == f"{context.run.key}.1"
    assert [line.text for line in context.log.lines] == ["a new device"]
