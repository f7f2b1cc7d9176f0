"""Liveness, readiness, card, metrics and pages."""

import httpx


def test_status_routes(url):
    with httpx.Client(base_url=url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny-rm", "m"]
        assert client.get("/docs").status_code == 200
        assert "/get_reward" in client.get("/openapi.json").json()["paths"]
        client.get("/some/secret/path")
        exposition = client.get("/metrics").text
    assert 'rewardsmith_requests_total{code="200",route="/health"}' in exposition
    assert "secret" not in exposition
