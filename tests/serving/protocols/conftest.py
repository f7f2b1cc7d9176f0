"""One client of the shared server, and the rewards that it must give."""

import httpx
import pytest
from protocol_texts import OTHER, TEXT


@pytest.fixture(scope="module")
def ask(url):
    with httpx.Client(base_url=url, timeout=30) as client:

        def post(path, body, status=200):
            answer = client.post(path, json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        yield post


@pytest.fixture(scope="module")
def expected(reward_model):
    return reward_model.score_texts([TEXT, OTHER])
