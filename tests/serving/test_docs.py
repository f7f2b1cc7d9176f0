"""The blocks of docs/use-in.md run as they stand, but for the address."""

import re

import pytest

BLOCK = re.compile(r"```python( skip)?\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def blocks(repository):
    return BLOCK.findall((repository / "docs" / "use-in.md").read_text())


def test_every_python_block_is_python(blocks):
    assert len(blocks) >= 8
    for _, code in blocks:
        compile(code, "use-in.md", "exec")


def test_the_blocks_that_need_no_other_package_run(blocks, url):
    runnable = [code for skip, code in blocks if not skip]
    assert len(runnable) >= 4
    for code in runnable:
        assert "http://127.0.0.1:8000" in code
        exec(compile(code.replace("http://127.0.0.1:8000", url), "use-in.md", "exec"), {"__name__": "block"})


def test_the_bodies_of_the_curl_blocks_are_answered(repository, url):
    import json

    import httpx

    text = (repository / "docs" / "use-in.md").read_text().replace("\\\n ", "")
    calls = re.findall(r"curl -s http://127.0.0.1:8000(\S+) .*-d '(.*)'", text)
    assert len(calls) == 4
    for path, body in calls:
        assert httpx.post(url + path, json=json.loads(body)).status_code == 200, path
