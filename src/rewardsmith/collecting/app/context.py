"""What the pages share: the open project, who is asking, templates, and forms that were really ours."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rewardsmith.blocks.words import clean
from rewardsmith.collecting.app.security import Cookies, RateLimit
from rewardsmith.collecting.collection import Collection
from rewardsmith.collecting.people import SESSION_HOURS, Visitor, find_visitor
from rewardsmith.collecting.texts import render_markdown, render_page, storable

FOLDER = Path(__file__).parent
MOST_FIELDS = 400


@dataclass(frozen=True)
class Context:
    """One running app."""

    collection: Collection
    secret: str
    cookies: Cookies
    endpoints: Mapping[str, str] = field(default_factory=dict)
    public_url: str | None = None
    logins: RateLimit = field(default_factory=lambda: RateLimit(5, 60))
    addresses: RateLimit = field(default_factory=lambda: RateLimit(60, 60))
    questions: RateLimit = field(default_factory=lambda: RateLimit(10, 60))
    streams: RateLimit = field(default_factory=lambda: RateLimit(24, 60))
    pages: Environment = field(default_factory=lambda: _environment())

    def page(self, name: str, visitor: Visitor | None, status: int = 200, /, **values: Any) -> HTMLResponse:
        """Draw a template."""
        shared: dict[str, Any] = {
            "visitor": visitor,
            "project": self.collection.project,
            "csrf": visitor.csrf if visitor else "",
        }
        shared["has_arena"] = bool(self.endpoints)
        return HTMLResponse(self.pages.get_template(name).render(**{**shared, **values}), status)

    def message(self, title: str, text: str, status: int, visitor: Visitor | None = None) -> HTMLResponse:
        """Draw a page that only says something."""
        return self.page("message.html", visitor, status, title=title, text=text)

    def base(self, request: Request) -> str:
        """Return the address that links for others begin with."""
        return self.public_url or str(request.base_url).rstrip("/")

    def form_page(self, request: Request, name: str, status: int = 200, /, **values: Any) -> Response:
        """Draw a page whose form comes before any session: its token belongs to a cookie of its own."""
        nonce = request.cookies.get(self.cookies.form_name) or secrets.token_urlsafe(24)
        page = self.page(name, None, status, **{**values, "csrf": self.cookies.form_token(nonce)})
        page.set_cookie(
            self.cookies.form_name, nonce, httponly=True, samesite="strict", secure=self.cookies.is_https, path="/"
        )
        return page

    def check_form(self, request: Request, form: FormData) -> None:
        """Refuse a form that was not drawn by `form_page`. Raises HTTPException."""
        nonce = request.cookies.get(self.cookies.form_name)
        if nonce is None or not _equal(self.cookies.form_token(nonce), text_of(form, "csrf")):
            raise HTTPException(403, "this page was open for too long; go back, reload it and try again")

    def start(self, token: str, target: str) -> Response:
        """Send somebody on with a new session."""
        answer = RedirectResponse(target, 303)
        answer.set_cookie(
            self.cookies.name,
            self.cookies.sign(token),
            max_age=3600 * SESSION_HOURS,
            httponly=True,
            samesite="lax",
            secure=self.cookies.is_https,
            path="/",
        )
        return answer


def _environment() -> Environment:
    loader = FileSystemLoader(FOLDER / "templates")
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever field is shown: nothing in it is invisible or turns the direction of writing.
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    pages.filters |= {"markdown": render_markdown, "page": render_page}
    return pages


async def context_of(request: Request) -> Context:
    """Return the app's context; a coroutine, as all that does not wait: a change of thread costs milliseconds."""
    found: Context = request.app.state.context
    return found


Here = Annotated[Context, Depends(context_of)]


def maybe_visitor(request: Request, here: Here) -> Visitor | None:
    """Return who asks; None for somebody without a session."""
    token = here.cookies.read(request.cookies.get(here.cookies.name))
    return None if token is None else find_visitor(here.collection.store, token)


class NotLoggedIn(Exception):
    """Nobody is logged in; the app sends the browser to the log-in page."""


async def any_visitor(visitor: Annotated[Visitor | None, Depends(maybe_visitor)]) -> Visitor:
    """Return who asks. Raises NotLoggedIn."""
    if visitor is None:
        raise NotLoggedIn
    return visitor


async def owner_only(visitor: Annotated[Visitor, Depends(any_visitor)]) -> Visitor:
    """Return the owner who asks; for everybody else the page does not exist."""
    if not visitor.is_owner:
        raise HTTPException(404, "there is no such page")
    return visitor


Anybody = Annotated[Visitor | None, Depends(maybe_visitor)]
Someone = Annotated[Visitor, Depends(any_visitor)]
Owner = Annotated[Visitor, Depends(owner_only)]


async def read_form(request: Request) -> FormData:
    """Return the form of a request: few fields, no files. Raises HTTPException."""
    try:
        return await request.form(max_files=0, max_fields=MOST_FIELDS)
    except HTTPException:
        raise
    except Exception as error:
        raise HTTPException(400, "this form cannot be read") from error


Form = Annotated[FormData, Depends(read_form)]


async def checked_form(visitor: Someone, form: Form) -> FormData:
    """Return the form of somebody logged in, if it carries their session's token. Raises HTTPException."""
    if not _equal(visitor.csrf, text_of(form, "csrf")):
        raise HTTPException(403, "this page was open for too long; reload it and try again")
    return form


Checked = Annotated[FormData, Depends(checked_form)]


def text_of(form: FormData, name: str) -> str:
    """Return a field as text; "" where it is absent."""
    value = form.get(name)
    return storable(value) if isinstance(value, str) else ""


def _equal(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode("utf-8", "replace"))
