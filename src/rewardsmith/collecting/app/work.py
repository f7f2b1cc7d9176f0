"""What an annotator sees: one item at a time, the guidelines, and the end."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException
from sqlalchemy import Row
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, RedirectResponse, Response

from rewardsmith.collecting import panels, texts
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.answers import FLAGS, MOST_CHARACTERS, check_judgement, form_values, parse_form, signature
from rewardsmith.collecting.app.context import Checked, Context, Here, Someone, text_of
from rewardsmith.collecting.assigning import MOST_COUNTED, Assignment, claim, find_assignment, progress
from rewardsmith.collecting.people import Visitor
from rewardsmith.collecting.project import Project
from rewardsmith.collecting.saving import LeaseLost, Receipt, Submission, find_sent, save_draft, submit, undo
from rewardsmith.errors import DataError

router = APIRouter()
LETTERS = "ABCDEFGHI"
VIEWS = ("text", "raw", "diff")
REASONS = ("I cannot judge this", "Not my language", "Broken or empty", "It disturbs me", "Other")
LONGEST_KEY = 80
# Longer answers fill a screen, and a link leads past them.
LONG_ANSWER = 3_000
MOST_ACTIVE_MS = 24 * 3600 * 1000


def project_of(here: Context, visitor: Visitor) -> Project:
    """Return the project as it is for somebody: a panel has a quota of its own."""
    project = here.collection.project
    if visitor.role != "panel":
        return project
    row = panels.find_panelist(here.collection.store, visitor.person_id)
    panel = project.panel(row.panel) if row is not None else None
    return project.model_copy(update={"quota": panel.quota if panel else 0})


@router.get("/work")
def work(here: Here, visitor: Someone, view: str = "text", saved: int | None = None) -> Response:
    """Show the next item, or the one that is held."""
    project = project_of(here, visitor)
    try:
        one = claim(here.collection.store, project, visitor.person_id)
    except DataError as error:
        return here.message("Paused", f"{error}.", 403, visitor)
    if one is None:
        return RedirectResponse("/finished" + (f"?saved={saved}" if saved is not None else ""), 303)
    receipt = _read_receipt(here, visitor, saved) if saved is not None else ""
    return _draw(here, visitor, project, one, view=view, receipt=receipt)


def _draw(here: Context, visitor: Visitor, project: Project, one: Assignment, **more: Any) -> Response:
    """Draw one item; `more` may hold view, receipt, error, status and what was sent."""
    view = more.get("view", "text")
    done, left = progress(here.collection.store, project, visitor.person_id)
    judgement = more.get("sent") or one.draft
    size = len(one.shown)
    return here.page(
        "work.html",
        visitor,
        more.get("status", 200),
        one=one,
        cards=_cards(one, view if view in VIEWS else "text"),
        prompt=texts.conversation(one.prompt),
        questions=project.all_questions,
        values=judgement.get("form") or form_values(project, _only_answers(project, judgement, size), one.shown),
        judgement={"rationale": "", "comment": "", "flags": [], **judgement},
        view=view if view in VIEWS else "text",
        key=secrets.token_urlsafe(16),
        done=done,
        left=left,
        is_more=left >= MOST_COUNTED,
        is_long=max(len(texts.plain(text)) for text in one.completions) > LONG_ANSWER,
        error=more.get("error", ""),
        receipt=more.get("receipt", ""),
        reasons=REASONS,
        flags=FLAGS,
        keys={"flag": "f" if size < 6 else "l", "guide": "g" if size < 7 else "o", "diff": "d" if size < 4 else "v"},
    )


def _only_answers(project: Project, judgement: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """Return a draft without answers to questions that have changed since."""
    names = {question.name for question in project.all_questions}
    answers = {name: value for name, value in (judgement.get("answers") or {}).items() if name in names}
    return {"answers": answers}


def _cards(one: Assignment, view: str) -> list[dict[str, Any]]:
    """Return what is shown of every answer, by its place on the screen."""
    shown = [texts.plain(one.completions[number]) for number in one.shown]
    steps = one.info.get("steps") or []
    cards = []
    for place, (number, text) in enumerate(zip(one.shown, shown, strict=True)):
        render = texts.render_raw if view == "raw" else texts.render_markdown
        own = [render(step) for step in steps[number]] if number < len(steps) else []
        cards.append({"place": place, "letter": LETTERS[place], "html": render(text), "steps": own})
    if view == "diff" and len(shown) >= 2:
        diff = texts.render_diff(shown[0], shown[1])
        for place in (0, 1):
            cards[place]["html"] = texts.render_undiffed(shown[place]) if diff is None else diff[place]
    return cards


def _read_receipt(here: Context, visitor: Visitor, judgement_id: int) -> str:
    """Say what the database holds of a person's own judgement, in the letters of its page."""
    judged = t.judgement.c
    own = (judged.id == judgement_id, judged.person_id == visitor.person_id)
    if not 0 < judgement_id < 2**31:
        return ""
    with here.collection.store.transaction() as connection:
        row = connection.execute(sa.select(t.judgement).where(*own)).first()
    if row is None:
        return ""
    return "Skipped." if row.kind == "skip" else f"Saved. {describe(row.answer, row.shown)}".strip()


def describe(judgement: Mapping[str, Any], shown: list[int]) -> str:
    """Write a judgement with the letters of its page, such as "B, then A = C"."""
    letter = {number: LETTERS[place] for place, number in enumerate(shown)}
    parts = [
        f"{letter[edge['better']]} {'=' if edge.get('outcome') == 'tie' else 'before'} {letter[edge['worse']]}"
        for edge in judgement.get("comparisons") or ()
    ]
    for answer in (judgement.get("answers") or {}).values():
        for name, row in {**(answer.get("ratings") or {}), **(answer.get("criteria") or {})}.items():
            words = {True: "yes", False: "no"}
            values = [f"{letter[n]} {words[v] if isinstance(v, bool) else v}" for n, v in _by_letter(row, shown)]
            parts.append(f"{name}: {', '.join(values)}")
        for number, step in _by_letter(answer.get("first_wrong") or (), shown):
            parts.append(f"{letter[number]}: {'no step' if step < 0 else f'step {step + 1}'} is wrong first")
        if answer.get("both_bad") or ("best" in answer and answer["best"] is None):
            parts.append("none is good")
        elif "order" in answer:
            parts.append(", then ".join(" = ".join(sorted(letter[n] for n in group)) for group in answer["order"]))
        elif "best" in answer:
            parts.append(f"{letter[answer['best']]} is best")
    return "; ".join(parts) + ("." if parts else "")


def _by_letter(row: Sequence[Any], shown: list[int]) -> list[tuple[int, Any]]:
    """Return the completions that have a value, in the order of the page, with it."""
    return [(number, row[number]) for number in shown if number < len(row) and row[number] is not None]


@router.post("/work/{slot_id}")
def save(here: Here, visitor: Someone, slot_id: int, form: Checked) -> Response:
    """Save an answer, a skip or a change of view, then go on; the page's token says which order it showed."""
    project, action = project_of(here, visitor), text_of(form, "action")
    one = find_assignment(here.collection.store, visitor.person_id, slot_id, text_of(form, "token")[:40])
    sent = _sent(form, slot_id, one.shown if one is not None else (), project)
    if one is None and action in ("save", "skip"):
        before = find_sent(here.collection.store, visitor.person_id, sent.key)
        if before is not None and not _is_same(form, project, before):
            reason = "You have answered this item already, and what you changed since is not in it; Undo takes it back"
            return _lost(here, visitor, sent, reason)
    if action.startswith("view-"):
        save_draft(here.collection.store, project, visitor.person_id, sent)
        view = action.removeprefix("view-")
        return RedirectResponse(f"/work?view={view if view in VIEWS else 'text'}", 303)
    if action not in ("save", "skip"):
        raise HTTPException(400, "this form has no such button")
    if one is not None and action == "save":
        try:
            checked = check_judgement(project, sent.answer, len(one.shown), _step_counts(one))
        except DataError as error:
            save_draft(here.collection.store, project, visitor.person_id, sent)
            return _draw(here, visitor, project, one, error=str(error), sent=sent.answer, status=422)
        sent = Submission(sent.slot_id, sent.token, sent.key, "answer", checked, sent.active_ms)
    return _store(here, visitor, project, one, sent)


def _is_same(form: FormData, project: Project, before: Row[Any]) -> bool:
    """Whether a page that comes again, by the Back button or a second click, says what it said at first."""
    again = _sent(form, before.slot_id, tuple(before.shown), project)
    if before.kind != "answer" or again.kind == "skip":
        return bool(before.kind == again.kind)
    found = []
    for one in (again.answer, before.answer):
        values = form_values(project, _only_answers(project, one, len(before.shown)), before.shown)
        written = [str(one.get(name) or "").strip()[:MOST_CHARACTERS] for name in ("rationale", "comment")]
        found.append(({name: value for name, value in values.items() if value}, written, set(one.get("flags") or ())))
    return found[0] == found[1]


def _sent(form: FormData, slot_id: int, shown: Sequence[int], project: Project) -> Submission:
    """Read what a page sent."""
    key = text_of(form, "key")[:LONGEST_KEY] or secrets.token_urlsafe(16)
    token, active = text_of(form, "token")[:40], text_of(form, "active_ms")
    active_ms = min(int(active), MOST_ACTIVE_MS) if active.isascii() and active.isdigit() and len(active) < 12 else None
    if text_of(form, "action") == "skip":
        answer: dict[str, Any] = {"reason": text_of(form, "reason")[:200] or REASONS[0]}
        comment = text_of(form, "comment").strip()[:MOST_CHARACTERS]
        return Submission(
            slot_id, token, key, "skip", {**answer, **({"comment": comment} if comment else {})}, active_ms
        )
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    flags = [value for value in form.getlist("flag") if isinstance(value, str)]
    for name in ("rationale", "comment"):
        fields[name] = text_of(form, name)
    # A draft may hold half a ranking, whose places only the form knows.
    typed = {name: value[:20] for name, value in fields.items() if name.startswith("q")}
    return Submission(
        slot_id, token, key, "draft", {**parse_form(project, fields, shown, flags), "form": typed}, active_ms
    )


def _step_counts(one: Assignment) -> list[int]:
    steps = one.info.get("steps") or []
    return [len(steps[number]) if number < len(steps) else 0 for number in range(len(one.completions))]


def _store(here: Context, visitor: Visitor, project: Project, one: Assignment | None, sent: Submission) -> Response:
    """Store a judgement and send the browser on; a lost lease keeps the text."""
    collection = here.collection
    try:
        # A page that was sent twice comes with a slot that is no longer held: its key finds the first receipt.
        receipt = submit(collection.store, collection.settings_id, project, visitor.person_id, sent)
    except LeaseLost as error:
        return _lost(here, visitor, sent, str(error))
    except DataError as error:
        return here.message("Paused", f"{error}.", 403, visitor)
    if one is not None and one.practice and receipt.kind == "answer":
        return _feedback(here, visitor, project, one, receipt)
    return RedirectResponse(f"/work?saved={receipt.judgement_id}", 303)


def _lost(here: Context, visitor: Visitor, sent: Submission, reason: str) -> Response:
    """Say why a page was not saved, and give back what was written on it."""
    written = sent.answer.get("rationale", ""), sent.answer.get("comment", "")
    return here.page("lost.html", visitor, 409, reason=reason, written=[text for text in written if text])


def _feedback(here: Context, visitor: Visitor, project: Project, one: Assignment, receipt: Receipt) -> Response:
    """Say after a practice item whether the answer is the expected one, and why."""
    with here.collection.store.transaction() as connection:
        row = connection.execute(sa.select(t.item).where(t.item.c.id == one.item_id)).one()
    name = project.main_question.name
    expected = (row.expected or {}).get(name)
    given = (receipt.answer.get("answers") or {}).get(name)
    return here.page(
        "feedback.html",
        visitor,
        right=signature(given) == signature(expected),
        given=describe({"answers": {name: given or {}}}, list(one.shown)),
        expected=describe({"answers": {name: expected or {}}}, list(one.shown)),
        why=str((row.info.get("metadata") or {}).get("feedback", "")),
        cards=_cards(one, "text"),
        prompt=texts.conversation(one.prompt),
    )


@router.post("/draft/{slot_id}")
def draft(here: Here, visitor: Someone, slot_id: int, form: Checked) -> Response:
    """Keep what was typed so far."""
    project = project_of(here, visitor)
    one = find_assignment(here.collection.store, visitor.person_id, slot_id, text_of(form, "token")[:40])
    if one is None:
        return JSONResponse({"saved": False}, 409)
    sent = _sent(form, slot_id, one.shown, project)
    kept = save_draft(here.collection.store, project, visitor.person_id, sent)
    return JSONResponse({"saved": kept}, 200 if kept else 409)


@router.post("/undo")
def take_back(here: Here, visitor: Someone, form: Checked) -> Response:
    """Put the last judgement in front of its annotator again."""
    collection = here.collection
    try:
        undo(collection.store, collection.settings_id, project_of(here, visitor), visitor.person_id)
    except DataError as error:
        return here.message("Not possible", f"{error}.", 403, visitor)
    return RedirectResponse("/work", 303)


@router.get("/guidelines")
def guidelines(here: Here, visitor: Someone) -> Response:
    """Show the guidelines."""
    return here.page("guidelines.html", visitor)


@router.get("/finished")
def finished(here: Here, visitor: Someone, saved: int | None = None) -> Response:
    """Say that nothing is left; a panel's participant gets the completion code."""
    project, store = project_of(here, visitor), here.collection.store
    done, left = progress(store, project, visitor.person_id)
    panel = None
    if visitor.role == "panel":
        row = panels.find_panelist(store, visitor.person_id)
        with store.transaction() as connection:
            done = panels.done_count(connection, visitor.person_id)
        panel = here.collection.project.panel(row.panel)
        if left and panel is not None and done < panel.quota:
            return RedirectResponse("/work", 303)
        # Whoever judged nothing has earned no code.
        panel = panel if done else None
        if panel is not None:
            panels.finish(store, visitor.person_id)
    receipt = "" if saved is None else _read_receipt(here, visitor, saved)
    return here.page("finished.html", visitor, done=done, left=left, panel=panel, receipt=receipt)
