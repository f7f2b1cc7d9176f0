"""`rewardsmith data inspect` from the outside: terminal, page, picture and JSON agree; hostile text stays text."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

EVIL = [
    "<script>document.title='taken'</script>",
    '"><img src=x onerror=alert(1)>',
    "</blockquote></article></main><h1>out</h1>",
    "<style>body{display:none}</style>",
    "\u202eturned \x1b[31mred\x1b[0m",
    "[bold red]markup[/] [/oops]",
]


def rows():
    for i in range(40):
        text = EVIL[i % len(EVIL)]
        words = "word " * (i % 7)
        yield {
            "prompt": f"{text} question {i}",
            "chosen": f"{'ab'[i % 2]} {text} {words}",
            "rejected": f"{'ba'[i % 3 % 2]} other {i}",
            "source": EVIL[i % 3],
            "annotator": EVIL[(i + 1) % 5],
            "chosen_model": EVIL[4],
        }


@pytest.fixture
def hostile(tmp_path):
    made = list(rows())
    turned = {**made[0], "chosen": made[0]["rejected"], "rejected": made[0]["chosen"]}
    made += [turned, {**made[1], "rejected": made[1]["chosen"]}]
    (tmp_path / "train <b>&.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made) + "{broken <script>\n")
    (tmp_path / "test.jsonl").write_text(json.dumps(made[3]) + "\n")
    return "train <b>&.jsonl", "test.jsonl"


class Page(HTMLParser):
    """Collects tags, addresses and text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def test_the_page_needs_nothing_and_shows_hostile_text_as_text(command, hostile, tmp_path):
    code, _, err = command("data", "inspect", *hostile, "--html", "page.html")
    assert (code, err) == (0, "wrote page.html\n")
    html = (tmp_path / "page.html").read_text()
    page = Page(html)
    assert not page.tags & {"script", "img", "iframe", "object", "form"}
    assert not page.attributes & {"src", "onerror", "onload"}
    assert all(address.startswith(("#", "data:,")) for address in re.findall(r'href="([^"]*)"', html))
    assert "default-src 'none'" in html
    assert html.count("<style>") == html.count("<h1>") == 1
    assert "url(" not in html
    for text in EVIL[:4]:
        assert text in page.text
    assert "⟨U+202E⟩turned ␛[31mred" in page.text
    assert not re.search("[\x1b\u202e]", html)
    assert "Preference data: train <b>&.jsonl, test.jsonl" in page.text


def test_the_terminal_shows_every_part_and_no_control_character(command, hostile):
    code, out, _ = command("data", "inspect", *hostile)
    assert code == 0
    assert not re.search("[\x1b\u202e]", out)
    assert "[bold red]" in out or "<script>" in out
    for title in ("Size", "What to look at", "What gives the label away", "Lengths", "Agreement"):
        assert f"\n{title}\n" in out
    lines = [line.strip() for line in out.splitlines()]
    assert any(re.match(r"rows read +44 +1 of them left out", line) for line in lines)
    assert any(re.match(r"pairs judged both ways +1 ", line) for line in lines)
    assert any(re.match(r"prompts on both sides +1 ", line) for line in lines)
    assert "█" in out


def test_json_picture_and_tables_agree(command, hostile, tmp_path):
    code, out, err = command("data", "inspect", *hostile, "--json", "-", "--png", "lengths.png")
    found = json.loads(out)
    assert (code, err) == (0, "wrote lengths.png\n")
    assert (tmp_path / "lengths.png").read_bytes().startswith(b"\x89PNG")
    assert (found["rows_read"], found["rows"], found["comparisons"]) == (44, 43, 43)
    assert found["rows_left_out"]["broken JSON"]["count"] == 1
    assert found["leaks"]["prompts_in_several_splits"] == {
        "count": 1,
        "examples": [["train <b>&.jsonl:row 4", "test.jsonl:row 1"]],
    } or found["leaks"]["prompts_in_several_splits"]["examples"] == [["test.jsonl:row 1", "train <b>&.jsonl:row 4"]]
    assert found["identical_sides"] == {"count": 1, "rows": ["train <b>&.jsonl:row 42"]}
    assert sum(found["lengths"]["completion"]["bin_counts"]) == found["completions"]
    command("data", "inspect", *hostile, "--json", "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found


def test_lengths_are_counted_in_tokens_of_a_tokenizer(command, hostile, tiny_model):
    code, out, _ = command("data", "inspect", *hostile, "--tokenizer", tiny_model, "--json", "-")
    found = json.loads(out)
    assert code == 0
    assert found["lengths"]["unit"] == found["prompt_sharing"]["unit"] == "tokens"
    assert found["prompt_sharing"]["exact"]
    assert found["prompt_sharing"]["logical"] > found["prompt_sharing"]["distinct"] > 0


def test_rows_without_comparisons_are_undefined_and_one_row_is_enough(command, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"prompt": "p", "chosen": "yes", "rejected": "no"}\n')
    code, out, _ = command("data", "inspect", "one.jsonl", "--html", "one.html", "--png", "one.png")
    assert code == 0
    assert "1.000" in out
    (tmp_path / "ties.jsonl").write_text('{"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}\n')
    code, out, _ = command("data", "inspect", "ties.jsonl")
    assert code == 0
    assert "undefined" in out


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (None, [], "'a.jsonl': no such file"),
        ("", [], "nothing to inspect: it holds no rows"),
        ("{\n", [], "a.jsonl:row 1: broken JSON"),
        ('{"x": 1}\n', [], "a.jsonl: nothing to inspect"),
        ("", ["--htlm", "x"], "did you mean --html"),
    ],
)
def test_what_cannot_be_inspected_is_one_line(command, tmp_path, content, arguments, expected):
    if content is not None:
        (tmp_path / "a.jsonl").write_text(content)
    code, _, err = command("data", "inspect", "a.jsonl", *arguments)
    assert code in (1, 2)
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_browser_runs_nothing_of_it(command, hostile, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    command("data", "inspect", *hostile, "--html", "page.html")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    address = (tmp_path / "page.html").as_uri()
    dom = subprocess.run([browser, *flags, address], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>Preference data: train &lt;b&gt;&amp;.jsonl, test.jsonl</title>" in dom
    assert Page(dom).tags >= {"main", "table", "article"}
    assert not Page(dom).tags & {"script", "img"}
