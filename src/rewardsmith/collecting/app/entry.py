"""Coming in and going out: log in, invitations, panels."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from rewardsmith.collecting import panels, people
from rewardsmith.collecting.app.context import Anybody, Checked, Form, Here, Someone, text_of
from rewardsmith.errors import DataError

router = APIRouter()


@router.get("/")
def home(visitor: Anybody) -> Response:
    """Send everybody to where they work."""
    if visitor is None:
        return RedirectResponse("/login", 303)
    return RedirectResponse("/owner" if visitor.is_owner else "/work", 303)


@router.get("/login")
def login_page(request: Request, here: Here) -> Response:
    """Ask for name and password."""
    return here.form_page(request, "login.html", error="", name="")


@router.post("/login")
def login(request: Request, here: Here, form: Form) -> Response:
    """Log in; a session that came with the request is not kept."""
    here.check_form(request, form)
    name, password = text_of(form, "name")[:200], text_of(form, "password")
    address = request.client.host if request.client else ""
    # Both count, in this order, so that one address cannot lock out every account.
    if not here.addresses.allows(address) or not here.logins.allows(f"{address}/{name.casefold()}"):
        text = "Too many attempts. Wait a minute and try again."
        return here.form_page(request, "login.html", 429, error=text, name=name)
    token = people.log_in(here.collection.store, name, password)
    if token is None:
        return here.form_page(request, "login.html", 401, error="Name and password do not fit.", name=name)
    _end_old(request, here)
    return here.start(token, "/")


def _end_old(request: Request, here: Here) -> None:
    old = here.cookies.read(request.cookies.get(here.cookies.name))
    if old is not None:
        people.log_out(here.collection.store, old)


@router.post("/logout")
def logout(request: Request, here: Here, visitor: Someone, form: Checked) -> Response:
    """End the session."""
    _end_old(request, here)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(here.cookies.name, path="/", secure=here.cookies.is_https, httponly=True)
    return answer


@router.get("/invite/{token}")
def invitation(request: Request, here: Here, token: str) -> Response:
    """Ask somebody who was invited for a password."""
    found = people.find_invitation(here.collection.store, token)
    if found is None:
        return here.message("Invitation", "This invitation was used or has expired. Ask for a new one.", 404)
    return here.form_page(request, "invite.html", name=found[0], role=found[1], error="", fewest=10)


@router.post("/invite/{token}")
def accept(request: Request, here: Here, token: str, form: Form) -> Response:
    """Set the password and log in."""
    here.check_form(request, form)
    found = people.find_invitation(here.collection.store, token)
    if found is None:
        return here.message("Invitation", "This invitation was used or has expired. Ask for a new one.", 404)
    password = text_of(form, "password")
    error = "" if password == text_of(form, "again") else "The two passwords differ."
    if not error:
        try:
            session = people.accept(here.collection.store, token, password)
        except DataError as problem:
            error = f"{str(problem)[:1].upper()}{str(problem)[1:]}."
        else:
            _end_old(request, here)
            return here.start(session, "/")
    return here.form_page(request, "invite.html", 422, name=found[0], role=found[1], error=error, fewest=10)


@router.get("/panel/{signed}")
def panel_page(request: Request, here: Here, signed: str) -> Response:
    """Show the consent page to somebody who comes by a panel's link."""
    panel = panels.read_link(here.secret, here.collection.project, signed)
    if panel is None:
        raise HTTPException(404, "there is no such page")
    names = (panel.participant, panel.study, panel.session)
    ids = {name: request.query_params.get(name, "")[:200] for name in names}
    if not ids[panel.participant]:
        text = f"This link needs {panel.participant}. Open the study from your marketplace again."
        return here.message("Study", text, 400)
    return here.form_page(request, "consent.html", panel=panel, ids=ids, signed=signed)


@router.post("/panel/{signed}")
def panel_enter(request: Request, here: Here, signed: str, form: Form) -> Response:
    """Let a participant in who agreed."""
    here.check_form(request, form)
    panel = panels.read_link(here.secret, here.collection.project, signed)
    if panel is None:
        raise HTTPException(404, "there is no such page")
    names = (panel.participant, panel.study, panel.session)
    try:
        token = panels.enter(here.collection.store, panel, {name: text_of(form, name) for name in names})
    except DataError as error:
        return here.message("Study", f"{error}.", 403)
    found = people.find_visitor(here.collection.store, token)
    if found is not None:
        panels.consent(here.collection.store, found.person_id)
    _end_old(request, here)
    return here.start(token, "/work")
