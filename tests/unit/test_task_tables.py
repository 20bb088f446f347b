"""The tables of the app, for a task: read once, written over, and committed with the run."""

import pytest

from admit import task, testing
from admit.task.wire import DeleteObject, PutObject

ADA, BOB = "ada@example.com", "bob@example.com"
MINE = {"realmId": ADA, "owner": ADA}


def app_with(**notes: dict[str, object]) -> testing.App:
    return testing.App([ADA, BOB], tables={"notes": {key: MINE | value for key, value in notes.items()}})


def test_an_object_is_put_read_changed_and_deleted() -> None:
    app = app_with(n1={"title": "milk", "at": {"shop": "A"}})
    context = testing.call(app=app)
    notes = context.db.table("notes")
    made = notes.put({"title": "new"}, realm=BOB)
    assert made.value == {"id": made.key, "title": "new", "realmId": BOB, "owner": BOB}
    assert notes.get(made.key) == notes.get(made.key, realm=BOB) == made
    changed = notes.update("n1", {"at.shop": "B", "at.day.of": 1}, realm=ADA)
    assert changed["at"] == {"shop": "B", "day": {"of": 1}}
    assert [each.key for each in notes] == ["n1", made.key]
    assert [each.key for each in app.objects("notes")] == ["n1"]
    app.apply(context)
    assert {each.key: each for each in app.objects("notes")} == {"n1": changed, made.key: made}

    context = testing.call(app=app)
    assert context.db.table("notes").delete(made)
    assert not context.db.table("notes").delete(made)
    assert context.db.table("notes").get(made.key) is None
    app.apply(context)
    assert [each.key for each in app.objects("notes")] == ["n1"]


def test_there_is_one_change_for_each_object_with_the_version_that_was_read() -> None:
    context = testing.call(app=app_with(n1={}, n2={}))
    notes = context.db.table("notes")
    notes.update("n1", {"a": 1})
    notes.update("n1", {"b": 2})
    notes.delete("n2")
    notes.put({"id": "n3"}, realm=ADA)
    notes.delete("n3", realm=ADA)
    put, deleted = context.changes
    assert isinstance(put, PutObject)
    assert isinstance(deleted, DeleteObject)
    assert (put.key, put.version, deleted.key, deleted.version) == ("n1", "1", "n2", "1")
    assert b'"a":1,"b":2' in put.value


def test_an_object_that_is_deleted_and_put_again_takes_the_place_of_what_was_read() -> None:
    app = app_with(n1={"title": "old", "more": 1})
    context = testing.call(app=app)
    context.db.table("notes").delete("n1")
    assert context.db.table("notes").get("n1", realm=ADA) is None
    context.db.table("notes").put({"id": "n1", "title": "new"}, realm=ADA)
    app.apply(context)
    [note] = app.objects("notes")
    assert note.value == {"id": "n1", "title": "new"} | MINE


def test_what_was_read_stays_and_two_that_write_it_are_a_conflict() -> None:
    app = app_with(n1={"count": 1})
    first, second = testing.call(app=app), testing.call(app=app)
    assert first.db.table("notes").get("n2", realm=ADA) is None
    [walked] = second.db.table("notes")
    other = testing.call(app=app)
    other.db.table("notes").update("n1", {"count": 2})
    other.db.table("notes").put({"id": "n2"}, realm=ADA)
    app.apply(other)
    assert [each.key for each in first.db.table("notes")] == ["n1"]
    assert first.db.table("notes").get("n2", realm=ADA) is None
    first.db.table("notes").put({"id": "n2"}, realm=ADA)
    second.db.table("notes").update(walked, {"count": walked["count"] + 1})
    for each in (first, second):
        with pytest.raises(AssertionError, match="conflict"):
            app.apply(each)


def test_pages_are_walked_through_in_the_order_of_keys() -> None:
    app = app_with(**{f"n{number:03}": {} for number in range(450)})
    notes = testing.call(app=app).db.table("notes")
    notes.put({"id": "n0005"}, realm=ADA)
    assert len(list(notes)) == 451
    assert [each.key for each in notes.find(realm=ADA, after="n447")] == ["n448", "n449"]
    assert [each.key for each in notes.find(limit=2)] == ["n000", "n001"]
    assert list(notes.find(limit=0)) == []
    assert list(notes.find(realm=BOB)) == []


def test_a_decision_reads_objects_and_writes_none() -> None:
    context = testing.decision(app=app_with(n1={}))
    notes = context.db.table("notes")
    assert notes.get("n1") is not None
    for write in (lambda: notes.put({"id": "n2"}, realm=ADA), lambda: notes.delete("n1")):
        with pytest.raises(PermissionError, match="A decision task cannot change the app"):
            write()


def test_what_cannot_be_is_refused_in_the_task() -> None:
    notes: task.Table = testing.call(app=app_with(n1={"title": "milk"})).db.table("notes")
    with pytest.raises(ValueError, match="needs a realm"):
        notes.put({"id": "n2"})
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        notes.put({"id": "n2", "what": object()}, realm=ADA)
    with pytest.raises(ValueError, match="is a mapping, not list"):
        notes.put([], realm=ADA)  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="no such object in notes"):
        notes.update("n2", {"a": 1}, realm=ADA)
    with pytest.raises(ValueError, match="realmId cannot be changed"):
        notes.update("n1", {"realmId": BOB})
    with pytest.raises(ValueError, match="nothing inside 'title'"):
        notes.update("n1", {"title.of": 1})
    with pytest.raises(ValueError, match="say which"):
        notes.find(after="n1")
    with pytest.raises(ValueError, match="limit"):
        notes.find(limit=-1)
    with pytest.raises(ValueError, match="needs a realm"):
        testing.App(tables={"notes": {"n1": {"title": "of nobody"}}})


def test_a_run_makes_so_many_changes_and_no_more() -> None:
    context = testing.call(app=testing.App([ADA]))
    notes = context.db.table("notes")
    for number in range(1_000):
        notes.put({"id": f"n{number}"}, realm=ADA)
    notes.put({"id": "n1", "again": True}, realm=ADA)
    with pytest.raises(ValueError, match="at most 1,000 changes"):
        context.db.users.lock(ADA)
