"""A project's page as a browser without scripts sees it."""

import re

from starlette.testclient import TestClient

from rewardsmith.collecting import Collection
from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.people import invite

PASSWORD = "correct horse battery"


def hidden(page: str, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page)
    assert found, f"no field {name}"
    return found[1]


class Visit:
    """One browser: a client with its own cookies."""

    def __init__(self, app) -> None:
        self.client = TestClient(app, raise_server_exceptions=True, follow_redirects=True)

    def accept(self, link: str, password: str = PASSWORD):
        """Come in by an invitation."""
        page = self.client.get(link)
        data = {"csrf": hidden(page.text, "csrf"), "password": password, "again": password}
        return self.client.post(link, data=data)

    def log_in(self, name: str, password: str = PASSWORD):
        """Come in by name and password."""
        page = self.client.get("/login")
        return self.client.post("/login", data={"csrf": hidden(page.text, "csrf"), "name": name, "password": password})

    def fields(self, page: str) -> dict[str, str]:
        """Return the hidden fields of the form on a page where one judges."""
        form = page[page.index('<form class="work"') :]
        return {name: hidden(form, name) for name in ("csrf", "token", "key", "active_ms")}

    def save(self, page: str, **answer: str):
        """Send the form of a page."""
        slot = re.search(r'action="/work/(\d+)"', page)
        assert slot, "no item on this page"
        return self.client.post(f"/work/{slot[1]}", data={**self.fields(page), "action": "save", **answer})


def site(collection: Collection):
    """Return the application of a project."""
    return build_app(collection)


def come(collection: Collection, app, name: str, role: str = "annotator") -> Visit:
    """Invite somebody and let them in."""
    visit = Visit(app)
    visit.accept(f"/invite/{invite(collection.store, 'test', name, role)}")
    return visit
