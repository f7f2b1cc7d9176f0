"""The Python blocks of the pages on audits print what the pages say."""

import contextlib
import io
import re

import pytest

PAGES = ("over-optimisation", "out-of-distribution", "contamination", "data-simulate")


@pytest.mark.parametrize("name", PAGES)
def test_the_example_prints_what_the_page_shows(repository, name):
    page = (repository / "docs" / f"{name}.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, f"docs/{name}.md", "exec"), {})
    assert output.getvalue() == shown
