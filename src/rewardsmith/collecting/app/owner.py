"""The owner's pages: how far, how good, which items divide, who works, and the way out."""

from __future__ import annotations

import math
import threading
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Request
from markupsafe import Markup, escape
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from rewardsmith.collecting import panels, people, texts
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.app.context import Checked, Context, Here, Owner, text_of
from rewardsmith.collecting.app.work import LETTERS, describe
from rewardsmith.collecting.assigning import reopen
from rewardsmith.collecting.exporting import Judged, export_groups, load_items, load_skips
from rewardsmith.collecting.quality import Quality, RaterQuality, measure_quality
from rewardsmith.collecting.status import status_counts
from rewardsmith.collecting.store import Store, log_event
from rewardsmith.data.formats import TARGETS
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.writing import to_json
from rewardsmith.records import Estimate

router = APIRouter()
PAGE_ITEMS = 50
EXPORTS = {"jsonl": "Rewardsmith JSONL", "trl": "TRL pairs"}
_measured: dict[tuple[str, int], Quality] = {}
_lock = threading.Lock()


def measured(here: Context) -> Quality:
    """Return the quality of the judgements as they are; measured anew only after a new judgement."""
    store = here.collection.store
    with store.transaction() as connection:
        last = connection.execute(sa.select(sa.func.max(t.judgement.c.id))).scalar() or 0
    key = (str(store.url), int(last))
    with _lock:
        if key not in _measured:
            _measured.clear()
            _measured[key] = measure_quality(here.collection.project, load_items(store, judged_only=True))
        return _measured[key]


def show(value: Estimate, percent: bool = True) -> Markup:
    """Write an estimate with its interval, or why there is none."""
    if math.isnan(value.value):
        return Markup(
            '<span class="soft">not yet</span>' if not value.n else '<span class="soft">undefined: all alike</span>'
        )
    scale, digits = (100, 0) if percent else (1, 2)
    text = f"{scale * value.value:.{digits}f}{'%' if percent else ''}"
    if not math.isnan(value.low):
        text += f" <small>[{scale * value.low:.{digits}f}, {scale * value.high:.{digits}f}]</small>"
    return Markup(text)


def rater_plot(raters: list[RaterQuality]) -> Markup:
    """Draw each annotator's agreement with the others as a dot with its interval."""
    known = [rater for rater in raters if not math.isnan(rater.others.value)]
    height = 26 * len(known) + 24
    lines = [f'<svg class="plot" viewBox="0 0 460 {height}" role="img" aria-label="Annotators against the others">']
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = 160 + 280 * share
        lines.append(f'<line class="half" x1="{x}" y1="0" x2="{x}" y2="{height - 22}"/>')
        lines.append(f'<text class="soft" x="{x}" y="{height - 6}" text-anchor="middle">{share:.0%}</text>')
    for row, rater in enumerate(known):
        y, value = 26 * row + 14, rater.others
        low, high = (value.value if math.isnan(v) else v for v in (value.low, value.high))
        lines.append(f'<text x="0" y="{y + 4}">{escape(rater.alias)}</text>')
        lines.append(
            f'<line class="interval" x1="{160 + 280 * low:.1f}" y1="{y}" x2="{160 + 280 * high:.1f}" y2="{y}"/>'
        )
        lines.append(f'<circle class="dot" cx="{160 + 280 * value.value:.1f}" cy="{y}" r="5"/>')
    return Markup("".join([*lines, "</svg>"]) if known else "")


@router.get("/owner")
def overview(here: Here, owner: Owner, request: Request) -> Response:
    """Show how far and how good the project is."""
    collection = here.collection
    quality = measured(here)
    base = here.base(request)
    links = {panel.name: panels.panel_link(here.secret, panel, base) for panel in collection.project.panels}
    return here.page(
        "overview.html",
        owner,
        counts=status_counts(collection.store),
        quality=quality,
        show=show,
        isnan=math.isnan,
        plot=rater_plot(quality.raters),
        links=links,
        participants=panels.list_participants(collection.store) if links else [],
        exports=EXPORTS,
        path=collection.path.name,
    )


@router.get("/owner/items")
def item_list(here: Here, owner: Owner, page: int = 0) -> Response:
    """List the items, the most divided first."""
    divided = {one.item_id: one for one in measured(here).divided}
    query = sa.select(t.item.c.id).where(t.item.c.kind.in_(("real", "gold", "live"))).order_by(t.item.c.id)
    with here.collection.store.transaction() as connection:
        others = [number for number in connection.execute(query).scalars() if number not in divided]
    numbers = [*divided, *others]
    start = PAGE_ITEMS * max(0, min(page, 10**6))
    chosen = numbers[start : start + PAGE_ITEMS]
    found = {item.item_id: item for item in load_items(here.collection.store, numbers=chosen)}
    return here.page(
        "items.html",
        owner,
        items=[
            (found[number], divided.get(number), texts.plain(found[number].prompt)[:160])
            for number in chosen
            if number in found
        ],
        page=max(0, page),
        has_more=len(numbers) > start + PAGE_ITEMS,
        total=len(numbers),
    )


@router.get("/owner/items/{item_id}")
def item_page(here: Here, owner: Owner, item_id: int) -> Response:
    """Show one item with what everybody said of it."""
    item = next(iter(load_items(here.collection.store, numbers=[item_id])), None)
    if item is None:
        raise HTTPException(404, "there is no such item")
    cards = [
        {"place": n, "letter": LETTERS[n], "html": texts.render_markdown(texts.plain(text)), "steps": []}
        for n, text in enumerate(item.completions)
    ]
    order = list(range(len(item.completions)))
    said = [(judged, describe(judged.answer, order), _reasons(judged)) for judged in item.judgements]
    values = {"said": said, "skipped": load_skips(here.collection.store, item_id)}
    return here.page("item.html", owner, item=item, cards=cards, prompt=texts.conversation(item.prompt), **values)


def _reasons(judged: Judged) -> list[str]:
    """Return what was written beside a judgement, each text once."""
    edges = judged.answer.get("comparisons") or ()
    written = [judged.answer.get("rationale"), judged.answer.get("comment"), *(edge.get("rationale") for edge in edges)]
    return [str(text) for text in dict.fromkeys(written) if text]


@router.post("/owner/items/{item_id}")
def adjudicate(here: Here, owner: Owner, item_id: int, form: Checked) -> Response:
    """Ask more people about an item."""
    if not load_items(here.collection.store, ("real",), numbers=[item_id]):
        raise HTTPException(404, "there is no such item")
    more = text_of(form, "more")
    if more not in ("1", "2", "3"):
        raise HTTPException(422, "ask one to three more people")
    reopen(here.collection.store, owner.name, item_id, int(more))
    return RedirectResponse(f"/owner/items/{item_id}", 303)


@router.get("/owner/people")
def people_page(here: Here, owner: Owner) -> Response:
    """List who works here."""
    return _people(here, owner)


def _people(here: Context, owner: Any, status: int = 200, **more: str) -> Response:
    rows = [row for row in people.list_people(here.collection.store) if row["role"] != "imported"]
    values = {"link": "", "error": "", **more}
    return here.page("people.html", owner, status, people=rows, roles=people.ROLES, **values)


@router.post("/owner/people")
def change_people(here: Here, owner: Owner, request: Request, form: Checked) -> Response:
    """Invite, reset, pause, resume or revoke somebody."""
    name, action, store = text_of(form, "name"), text_of(form, "action"), here.collection.store
    try:
        if action in ("invite", "reset"):
            role = text_of(form, "role") or "annotator"
            token = (
                people.invite(store, owner.name, name, role)
                if action == "invite"
                else people.reset(store, owner.name, name)
            )
            return _people(here, owner, link=f"{here.base(request)}/invite/{token}")
        if action == "revoke":
            people.revoke(store, owner.name, name)
        elif action in ("pause", "resume"):
            _pause(store, owner.name, name, action)
        else:
            raise HTTPException(400, "this form has no such button")
    except (ConfigError, DataError) as error:
        return _people(here, owner, 422, error=f"{error}.")
    return RedirectResponse("/owner/people", 303)


def _pause(store: Store, actor: str, name: str, action: str) -> None:
    found, wanted = ("active", "paused") if action == "pause" else ("paused", "active")
    with store.transaction() as connection:
        query = sa.select(t.person.c.id).where(t.person.c.name == people.clean_name(name), t.person.c.status == found)
        person_id = connection.execute(query).scalar()
        if person_id is None:
            raise ConfigError(f"{name!r} is not {found}")
        people.set_status(connection, int(person_id), wanted)
        log_event(connection, actor, action, name)


@router.post("/owner/release")
def release(here: Here, owner: Owner, form: Checked) -> Response:
    """Release a panel's participant."""
    collection, discard = here.collection, text_of(form, "discard") == "yes"
    who = (text_of(form, "panel"), text_of(form, "participant"))
    try:
        panels.release(collection.store, collection.project, owner.name, who, discard)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error
    return RedirectResponse("/owner", 303)


@router.post("/owner/export")
def export(here: Here, owner: Owner, form: Checked) -> Response:
    """Hand out every judgement as a file."""
    layout = text_of(form, "to")
    if layout not in EXPORTS:
        raise HTTPException(422, f"an export is one of {', '.join(EXPORTS)}")
    body, count = _export_text(here, layout, form)
    with here.collection.store.transaction() as connection:
        log_event(connection, owner.name, "export", layout, rows=count)
    # A header holds Latin letters only; the name of the project's file may hold any.
    name = quote(f"{here.collection.path.stem}-{layout}.jsonl")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(body, media_type="application/x-ndjson", headers=headers)


def _export_text(here: Context, layout: str, form: FormData) -> tuple[str, int]:
    groups = export_groups(here.collection.store, here.collection.project, soft=text_of(form, "votes") == "soft")
    report = ConvertReport.empty()
    rows = [row for group in groups for row in convert_group(group, TARGETS[layout], report)]
    return "".join(f"{to_json(row)}\n" for row in rows), len(rows)
