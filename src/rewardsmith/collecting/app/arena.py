"""The arena: a prompt typed by an annotator, two models' answers streamed side by side, and a vote.

The endpoints speak the protocol of OpenAI's chat completions. Which two answer, and on which side, is drawn from the
project's seed and the question's number, and recorded like any order of answers; their names never reach the page.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import sqlalchemy as sa
from fastapi import APIRouter, HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.answers import check_answer
from rewardsmith.collecting.app.context import Checked, Context, Here, Someone, text_of
from rewardsmith.collecting.assigning import PERSONAL, lock_person
from rewardsmith.collecting.people import Visitor
from rewardsmith.collecting.project import Question
from rewardsmith.collecting.saving import Submission, add_judgement
from rewardsmith.collecting.store import Store, insert
from rewardsmith.collecting.texts import render_markdown, storable
from rewardsmith.errors import DataError

router = APIRouter()
LONGEST_PROMPT = 8_000
LONGEST_ANSWER = 60_000
# Between two pieces of an answer, and for all of them.
SECONDS, MOST_SECONDS = 60.0, 300.0
LONGEST_LINE = 1_000_000
# The one question of the arena; a project's own questions are about items that were imported.
QUESTION = Question(name="overall", task="pair", text="Which answer is better?")


class BrokenAnswer(Exception):
    """An endpoint's answer that is no whole text."""


@router.get("/arena")
def arena(here: Here, visitor: Someone, saved: str = "") -> Response:
    """Show the page where prompts are typed, after a vote with a word that it is stored."""
    _open_arena(here, visitor)
    return here.page("arena.html", visitor, longest=LONGEST_PROMPT, is_saved=bool(saved))


def _open_arena(here: Context, visitor: Visitor) -> None:
    if not here.endpoints or visitor.role == "panel":
        raise HTTPException(404, "there is no such page")


@router.post("/arena/ask")
def ask(here: Here, visitor: Someone, form: Checked) -> Response:
    """Store a prompt as an item and say under which number its answers are streamed."""
    _open_arena(here, visitor)
    prompt = text_of(form, "prompt").strip()
    if not prompt or len(prompt) > LONGEST_PROMPT:
        raise HTTPException(422, f"a prompt has 1 to {LONGEST_PROMPT} characters")
    if not here.questions.allows(str(visitor.person_id)):
        raise HTTPException(429, "too many prompts; wait a minute")
    seed = here.collection.project.seed
    with here.collection.store.transaction() as connection:
        lock_person(connection, visitor.person_id)
        number = int(connection.execute(sa.select(sa.func.count()).where(t.item.c.kind == "live")).scalar_one())
        names = random.Random(f"{seed}/arena/{number}/{visitor.alias}").sample(sorted(here.endpoints), 2)
        values: dict[str, Any] = {
            "key": f"live-{secrets.token_hex(10)}",
            "kind": "live",
            "prompt": prompt,
            "info": {"source": "arena"},
        }
        values |= {"overlap": 1, "rank": 0.0, "priority": 0.0, "order_name": "random", "is_closed": True}
        item_id = insert(connection, t.item, **values, created=time.time())
        for place, name in enumerate(names):
            insert(connection, t.completion, item_id=item_id, number=place, text="", model=name)
        seat = {"item_id": item_id, "n": PERSONAL + visitor.person_id, "again": False, "person_id": visitor.person_id}
        shown = {"shown": [0, 1], "shown_at": time.time(), "token": secrets.token_urlsafe(16)}
        insert(connection, t.slot, **seat, **shown, state="live", place=0.0, rank=0.0)
    return JSONResponse({"item": item_id})


def _own_slot(store: Store, person_id: int, item_id: int, *states: str) -> Any:
    """Return the slot of somebody's own question, an open one unless other states are given. Raises HTTPException."""
    slot = t.slot.c
    kept = (t.item.c.kind == "live", slot.state.in_(states or ("live",)))
    query = sa.select(t.slot).join(t.item).where(slot.item_id == item_id, slot.person_id == person_id, *kept)
    with store.transaction() as connection:
        row = connection.execute(query).mappings().first() if 0 < item_id < 2**31 else None
    if row is None:
        raise HTTPException(404, "there is no such question")
    return row


@router.post("/arena/{item_id}/{place}")
def stream(here: Here, visitor: Someone, item_id: int, place: int, form: Checked) -> Response:
    """Stream one answer; it is stored whole when it has ended."""
    _open_arena(here, visitor)
    store = here.collection.store
    _own_slot(store, visitor.person_id, item_id)
    with store.transaction() as connection:
        query = sa.select(t.completion).where(t.completion.c.item_id == item_id, t.completion.c.number == place)
        row = connection.execute(query).first() if place in (0, 1) else None
        prompt = connection.execute(sa.select(t.item.c.prompt).where(t.item.c.id == item_id)).scalar_one()
    if row is None or row.text != "" or row.model not in here.endpoints:
        raise HTTPException(409, "this answer was streamed already")
    if not here.streams.allows(str(visitor.person_id)):
        raise HTTPException(429, "too many answers; wait a minute")
    parts = _stream_answer(here.endpoints[row.model], row.model, prompt)
    return StreamingResponse(_kept(store, item_id, place, parts), media_type="text/plain; charset=utf-8")


@router.get("/arena/{item_id}/{place}")
def whole(here: Here, visitor: Someone, item_id: int, place: int) -> Response:
    """Return an answer that came whole as it is shown everywhere else: Markdown, rendered and safe."""
    _open_arena(here, visitor)
    _own_slot(here.collection.store, visitor.person_id, item_id)
    with here.collection.store.transaction() as connection:
        query = sa.select(t.completion.c.text).where(t.completion.c.item_id == item_id, t.completion.c.number == place)
        text = connection.execute(query).scalar() if place in (0, 1) else None
    if not text:
        raise HTTPException(404, "there is no such answer")
    return HTMLResponse(render_markdown(text))


async def _kept(store: Store, item_id: int, place: int, parts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Pass an answer on and store it at its end; a broken one stays empty, so that nobody votes on half of it."""
    text = ""
    try:
        async for part in parts:
            text += part
            yield part
            if len(text) > LONGEST_ANSWER:
                break
        if not text.strip():
            raise BrokenAnswer("empty")
    except (httpx.HTTPError, BrokenAnswer) as error:
        yield f"\n[the model did not answer: {type(error).__name__}]"
        return
    await anyio.to_thread.run_sync(_store_answer, store, item_id, place, text[:LONGEST_ANSWER])


def _store_answer(store: Store, item_id: int, place: int, text: str) -> None:
    """Store an answer once: what was voted on does not change."""
    where = (t.completion.c.item_id == item_id, t.completion.c.number == place)
    with store.transaction() as connection:
        kept = connection.execute(sa.select(t.completion.c.text).where(*where).with_for_update()).scalar_one()
        if kept == "":
            connection.execute(sa.update(t.completion).where(*where).values(text=storable(text)))


async def _stream_answer(url: str, model: str, prompt: str) -> AsyncIterator[str]:
    """Ask an OpenAI-compatible endpoint and give its answer piece by piece. Raises BrokenAnswer, httpx.HTTPError."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
    deadline = time.monotonic() + MOST_SECONDS
    async with (
        httpx.AsyncClient(timeout=SECONDS) as client,
        client.stream("POST", f"{url}/chat/completions", json=body) as answer,
    ):
        answer.raise_for_status()
        async for data in _events(answer):
            if time.monotonic() > deadline:
                raise BrokenAnswer("too slow")
            if data == "[DONE]":
                return
            piece, is_last = read_event(data)
            if piece:
                yield piece
            if is_last:
                return
    # A connection that ended without a last event may have ended in the middle of a sentence.
    raise BrokenAnswer("cut off")


async def _events(answer: httpx.Response) -> AsyncIterator[str]:
    """Yield the data of every event of a stream; a line without an end does not fill the memory."""
    rest = ""
    async for part in answer.aiter_text():
        *lines, rest = (rest + part).split("\n")
        if len(rest) > LONGEST_LINE:
            raise BrokenAnswer("no lines")
        for line in lines:
            if line.startswith("data:"):
                yield line.removeprefix("data:").strip()
    if rest.startswith("data:"):
        yield rest.removeprefix("data:").strip()


def read_event(data: str) -> tuple[str, bool]:
    """Return the text that an event of a chat completion adds, and whether it is the last. Raises BrokenAnswer."""
    try:
        event = json.loads(data)
        if event.get("error"):
            raise BrokenAnswer("the endpoint gave an error")
        choices = event.get("choices") or [{}]
        piece = (choices[0].get("delta") or {}).get("content") or ""
        is_last = bool(choices[0].get("finish_reason"))
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise BrokenAnswer("no event of a chat completion") from error
    if not isinstance(piece, str):
        raise BrokenAnswer("no text")
    return piece, is_last


@router.post("/arena/{item_id}")
def vote(here: Here, visitor: Someone, item_id: int, form: Checked) -> Response:
    """Store the vote on two answers that both came whole."""
    _open_arena(here, visitor)
    collection, choice = here.collection, text_of(form, "choice")
    orders = {"0": [[0], [1]], "1": [[1], [0]], "tie": [[0, 1]], "bad": [[0, 1]]}
    # A second click, or the Back button, sends a vote that is stored already.
    slot = _own_slot(collection.store, visitor.person_id, item_id, "live", "done")
    if choice not in orders:
        raise HTTPException(422, "choose A, B, tie or both bad")
    answer = check_answer(QUESTION, {"order": orders[choice], "both_bad": choice == "bad"}, 2, [0, 0])
    given: dict[str, Any] = {"answers": {collection.project.main_question.name: answer}}
    rationale = text_of(form, "rationale").strip()[:10_000]
    if rationale:
        given["rationale"] = rationale
    sent = Submission(slot["id"], "", f"live-{item_id}", "answer", given)
    with collection.store.transaction() as connection:
        try:
            lock_person(connection, visitor.person_id)
        except DataError as error:
            raise HTTPException(403, str(error)) from error
        texts = sa.select(t.completion.c.text).where(t.completion.c.item_id == item_id)
        if "" in connection.execute(texts).scalars().all():
            raise HTTPException(409, "one of the answers is not complete; ask again")
        current = connection.execute(sa.select(t.slot.c.state).where(t.slot.c.id == slot["id"])).scalar_one()
        if current == "live":
            add_judgement(connection, collection.settings_id, dict(slot), visitor.person_id, sent)
            connection.execute(sa.update(t.slot).where(t.slot.c.id == slot["id"]).values(state="done", token=None))
    return RedirectResponse("/arena?saved=yes", 303)
