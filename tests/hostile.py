"""What hostile rows and folders share: templates without end, and what an error may look like."""

ROW = {"prompt": "Question?\n", "completion": "good answer"}
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
LOOP = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)
GROW = (
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"
)


def says_one_line(code: int, err: str) -> None:
    assert "Traceback" not in err
    assert "\x1b" not in err
    errors = [found for found in err.splitlines() if ": error: " in found]
    # A run of which no row could be scored says so by its count.
    assert len(errors) == (0 if code == 0 or "not scored" in err else 1), err[-2000:]
    assert all(len(found) < 1500 for found in errors)
