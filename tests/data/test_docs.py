"""The Python block of docs/data.md prints what the page says."""

import contextlib
import io
import re


def test_the_example_prints_what_the_page_shows(repository):
    page = (repository / "docs" / "data.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```\n```\n(.*?)```", page, re.DOTALL).groups()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "docs/data.md", "exec"), {})
    assert output.getvalue() == shown
