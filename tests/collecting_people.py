"""Items and annotators for the tests of collecting."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from rewardsmith.collecting import Collection
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import Assignment, claim
from rewardsmith.collecting.people import add_person
from rewardsmith.collecting.saving import Receipt, Submission, submit
from rewardsmith.records import PreferenceGroup


def groups(number: int, answers: int = 2) -> list[PreferenceGroup]:
    """Return prompts with answers, all different."""
    return [
        PreferenceGroup(
            f"Question {n}?",
            tuple(f"Answer {a} to question {n}." for a in range(answers)),
            models=tuple(f"model-{a}" for a in range(answers)),
            group_id=str(n),
        )
        for n in range(number)
    ]


def annotator(collection: Collection, name: str = "ann", role: str = "annotator") -> int:
    """Add an active person without a password; returns the id."""
    with collection.store.transaction() as connection:
        return add_person(connection, name, role, "active")


def answer(collection: Collection, person: int, prefer: int = 0) -> tuple[Assignment, Receipt] | None:
    """Claim and answer one item, with completion `prefer` first; None when there is no item."""
    one = claim(collection.store, collection.project, person)
    if one is None:
        return None
    order = [[prefer]] + [[n] for n in range(len(one.completions)) if n != prefer]
    given = {"answers": {"overall": {"order": order}}}
    sent = Submission(one.slot_id, one.token, f"{person}-{one.slot_id}-{one.token}", "answer", given, 1000)
    return one, submit(collection.store, collection.settings_id, collection.project, person, sent)


def answer_at_once(collection: Collection, people: Sequence[int], work: Callable[[Collection, int], None]) -> list[Any]:
    """Let people work in a thread each; return all judgements, three by different people of every item."""
    threads = [threading.Thread(target=work, args=(collection, person)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with collection.store.transaction() as connection:
        rows = connection.execute(sa.select(t.judgement.c.item_id, t.judgement.c.person_id)).all()
    assert set(Counter(row.item_id for row in rows).values()) == {3}
    assert max(Counter(tuple(row) for row in rows).values()) == 1
    return rows
