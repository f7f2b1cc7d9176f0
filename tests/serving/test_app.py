"""The application as a whole: the page of its routes, and errors of bodies in one line."""

import re

import httpx


def test_errors_of_a_million_elements_are_one_line(url):
    for path, body in {
        "/v1/reward": {"completions": [1.5] * 300_000},
        "/classify": {"input": [1.5] * 300_000},
        "/predict": {"inputs": [None] * 300_000},
        "/rerank": {"query": "a", "documents": [1] * 300_000},
    }.items():
        answer = httpx.post(url + path, json=body, timeout=30)
        assert answer.status_code == 422, path
        assert len(answer.content) < 1500, path
    fields = httpx.post(f"{url}/v1/reward", json={f"k{number}": 1 for number in range(100_000)}, timeout=30)
    assert fields.status_code == 422
    assert "'k0' is not known" in fields.json()["error"]["message"]


def test_the_page_of_routes_loads_nothing_from_elsewhere(url):
    page = httpx.get(f"{url}/docs").text
    for path in httpx.get(f"{url}/openapi.json").json()["paths"]:
        assert path in page
    assert "<script" not in page
    assert "src=" not in page
    assert "@import" not in page
    assert not re.findall(r'href="(?!openapi\.json)', page)
