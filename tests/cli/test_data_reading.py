"""`rewardsmith data inspect|check|overlap|list`: what they find, say and write, also of hostile data."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from rewardsmith.cli.main import main
from rewardsmith.data import load_preferences
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.sets import CATALOGUE


def data(*arguments):
    return main(["data", *map(str, arguments)])


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


SIDES = [("a{0} is what I would say, {0}", "b{0} it may be"), ("c{0} it may be", "a{0} is what I would say, {0}")]
CLEAN = [
    {
        "prompt": f"Question {i} about item {i * 977}?",
        "chosen": SIDES[i % 2][0].format(i),
        "rejected": SIDES[i % 2][1].format(i),
    }
    for i in range(120)
]
SWAPPED = {**CLEAN[4], "chosen": CLEAN[4]["rejected"], "rejected": CLEAN[4]["chosen"]}


@pytest.fixture
def write(tmp_path):
    def write_rows(name, rows):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
        return name

    return write_rows


def test_clean_data_pass(command, write):
    code, out, err = command("data", "check", write("pairs.jsonl", CLEAN), "--strict")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "120 rows, 120 comparisons"
    assert out.splitlines()[-1] == "0 errors, 0 warnings: nothing that makes training wrong"


def test_an_error_names_rows_and_remedy_and_exits_with_1(command, write):
    bad = [{**CLEAN[0], "chosen": None}, "{broken", {**CLEAN[1], "rejected": None}]
    code, out, _ = command("data", "check", write("pairs.jsonl", [*CLEAN, *bad]))
    assert code == 1
    assert "error    unreadable: null value  2 of 123 rows (1.6%)" in out
    assert "pairs.jsonl:row 121, 123" in out
    assert "-> repair or remove these rows" in out
    assert "column 'chosen'" in out
    assert out.splitlines()[-1] == "2 errors, 0 warnings: training on this would be wrong"


def test_empty_answers_are_read_counted_and_named(command, write):
    empty = [{**CLEAN[0], "prompt": "another", "rejected": ""}, {**CLEAN[1], "prompt": "a third", "chosen": " "}]
    code, out, _ = command("data", "check", write("pairs.jsonl", [*CLEAN, *empty]))
    assert code == 0
    assert "warning  empty completion  2 of 122 rows (1.6%)" in out
    assert "warning  empty answer preferred  1 of 122 comparisons (0.8%)" in out
    assert "pairs.jsonl:row 122" in out


def test_warnings_pass_unless_strict(command, write):
    name = write("pairs.jsonl", [*CLEAN, SWAPPED])
    code, out, _ = command("data", "check", name, "--rows", 1)
    assert code == 0
    assert "warning  judged both ways  1 of 121 preferences (0.8%)" in out
    assert "pairs.jsonl:row 5 and 1 more" in out
    assert command("data", "check", name, "--strict")[0] == 1


def test_json_holds_everything(command, write, tmp_path):
    name = write("pairs.jsonl", [*CLEAN, SWAPPED, "{"])
    code, out, _ = command("data", "check", name, "--json", "-")
    found = json.loads(out)
    assert code == found["exit_code"] == 1
    assert (found["verdict"], found["rows_read"], found["rows_left_out"]) == ("errors", 122, 1)
    assert {(f["kind"], f["level"], f["count"]) for f in found["findings"]} == {
        ("unreadable: broken JSON", "error", 1),
        ("judged both ways", "warning", 1),
    }
    assert next(f for f in found["findings"] if f["level"] == "error")["rows"] == ["pairs.jsonl:row 122"]
    code, out, err = command("data", "check", name, "--json", "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert "unreadable: broken JSON" in out
    assert err == "wrote found.json\n"


def test_a_prompt_in_train_and_test_is_named_on_both_sides(command, write):
    again = {**CLEAN[2], "chosen": "quite another answer, of the same length"}
    names = write("a.jsonl", CLEAN), write("b.jsonl", [again])
    code, out, _ = command("data", "check", names[0], "--test", names[1])
    assert code == 1
    assert "error    prompt in train and test  1 of 120 prompts" in out
    assert "a.jsonl:row 3; b.jsonl:row 1" in out


def test_every_kind_of_file_gives_the_same_findings(command, write, tmp_path):
    rows = [*CLEAN, SWAPPED]
    write("pairs.jsonl", rows)
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    with open_groups(tmp_path / "pairs.parquet") as put:
        for group in load_preferences("pairs.jsonl", merge_prompts=False):
            put(group)
    findings = []
    for suffix in ("jsonl", "json", "parquet"):
        found = json.loads(command("data", "check", f"pairs.{suffix}", "--json", "-")[1])
        findings.append([(f["kind"], f["count"], [r.partition(":")[2] for r in f["rows"]]) for f in found["findings"]])
    assert findings[0] == findings[1] == findings[2] != []


def test_one_row_and_rows_without_a_preference(command, write):
    code, out, _ = command("data", "check", write("one.jsonl", CLEAN[:1]))
    assert code == 0
    assert "1 preference; what is learnt from so few is hardly better than chance" in out
    tie = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}
    code, out, _ = command("data", "check", write("ties.jsonl", [tie]))
    assert code == 1
    assert "ties alone: 1 of 1 comparisons" in out
    code, out, _ = command("data", "check", write("empty.jsonl", []))
    assert code == 1
    assert "no rows" in out


def test_a_file_that_cannot_be_read_is_the_only_finding(command, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"garbage")
    code, out, err = command("data", "check", "x.parquet")
    assert (code, err) == (1, "")
    assert out.splitlines()[-2:] == ["", "1 error, 0 warnings: training on this would be wrong"]
    assert "error    unreadable file" in out
    assert out.splitlines()[-3].strip() == "x.parquet"


def test_terminal_codes_and_markup_in_texts_stay_text(command, write):
    rows = [*CLEAN, {**CLEAN[0], "prompt": "[bold red]x[/]", "chosen": "\x1b[31mred", "margin": "[/oops]"}]
    code, out, _ = command("data", "check", write("[weird].jsonl", rows))
    assert code == 1
    assert "[weird].jsonl:row 121" in out
    assert "\x1b" not in out
    assert "[/oops]" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.jsonl"], "'none.jsonl': no such file"),
        (["pairs.jsonl", "--test", "none.jsonl"], "'none.jsonl': no such file"),
        (["pairs.jsonl", "--rows", "-1"], "--rows must be 0 or more"),
        (["pairs.jsonl", "--strct"], "did you mean --strict"),
        (["pairs.jsonl", "--reader", "nonsense"], "nonsense"),
        (["."], "."),
    ],
)
def test_wrong_use_is_one_line(command, write, arguments, expected):
    write("pairs.jsonl", CLEAN)
    if arguments == ["."]:
        write("test.jsonl", CLEAN)
        write("train.jsonl", CLEAN)
        expected = "name one as split"
    code, out, err = command("data", "check", *arguments)
    assert code in (1, 2)
    assert expected in err + out
    assert err.count("\n") <= 1
    assert "Traceback" not in err


def test_the_table_names_every_reader_with_licence_paper_and_place(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["data", "list"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for entry in CATALOGUE.values():
        assert f"│ {entry.name} │" in shown
        assert f"licence: {entry.licence}; labels: {entry.labels}" in shown
        assert entry.paper_url in shown
        assert (entry.hub_place or entry.url) in shown
    assert "row format: pair, tokens, " in shown


def test_json_holds_every_entry(capsys):
    assert main(["data", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(CATALOGUE)
    assert listed["helpsteer3-edit"]["subset"] == "edit"
    assert listed["webgpt"]["variants"] == ["stripped"]


def test_the_page_of_the_docs_holds_the_printed_table(capsys, repository):
    assert main(["data", "list", "--markdown"]) == 0
    table = capsys.readouterr().out.strip()
    assert table in (repository / "docs" / "data-sets.md").read_text()


def test_the_page_names_no_reader_that_does_not_exist(repository):
    page = (repository / "docs" / "data-sets.md").read_text()
    options = page.split("| data set | options |")[1].split("## Rows")[0]
    for row in options.strip().splitlines()[1:]:
        for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1]):
            assert name in CATALOGUE
            for variant in re.findall(r"`:([a-z]+)`", row.split("|")[2]):
                assert any(variant in CATALOGUE[n].variants for n in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1]))


LONG = "Please explain in detail how the old stone bridge over the river Main was built in the year 1133"


def pair(prompt, chosen="yes it is", rejected="no it is not"):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


DATA_OVERLAP_CLEAN = [pair(f"Question {n * 7919} concerns topic {n * 104729} only", f"good {n}") for n in range(20)]
TRAIN = [
    *DATA_OVERLAP_CLEAN[:10],
    pair(LONG, "one"),
    pair("Once upon a time.", f"He said: {LONG.lower()}. Then he left."),
]
TEST = [*DATA_OVERLAP_CLEAN[10:], pair("PLEASE " + LONG[7:] + "!", "two"), DATA_OVERLAP_CLEAN[3]]


@pytest.fixture
def sides(tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "train.jsonl", "test.jsonl"


def test_planted_rows_are_named_counted_and_taken_out(command, sides, tmp_path):
    code, out, _ = command("data", "overlap", *sides, "--out", "hits.jsonl", "--clean", "clean.jsonl")
    assert code == 0
    assert "same prompt: test.jsonl:row 11 and train.jsonl:row 11" in out
    assert "wrote 9 of 12 training groups to clean.jsonl" in out
    hits = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert {(hit["kind"], hit["test"], hit["train"]) for hit in hits} == {
        ("same prompt", "test.jsonl:row 11", "train.jsonl:row 11"),
        ("n-gram", "test.jsonl:row 11", "train.jsonl:row 11"),
        ("same pair", "test.jsonl:row 12", "train.jsonl:row 4"),
        ("same prompt", "test.jsonl:row 12", "train.jsonl:row 4"),
    }
    assert len(load_preferences("clean.jsonl")) == 9
    assert command("data", "overlap", "clean.jsonl", "test.jsonl", "--fail-above", 0)[0] == 0


def test_the_exit_code_follows_the_share(command, sides):
    assert command("data", "overlap", *sides, "--fail-above", 0.2)[0] == 0
    assert command("data", "overlap", *sides, "--fail-above", 0.1)[0] == 1


def test_json_on_stdout_is_all_of_it(command, sides):
    code, out, _ = command("data", "overlap", *sides, "--json", "-", "--index", "train")
    found = json.loads(out)
    assert code == 0
    assert (found["test_groups"], found["test_groups_hit"], found["train_groups_hit"]) == (12, 2, 3)
    assert found["share"] == pytest.approx(1 / 6)
    assert found["kinds"]["n-gram"] == {"test_groups": 1, "train_groups": 2}
    assert found["train"] == {"source": "train.jsonl", "rows": 12, "left_out": {}}


def test_a_benchmark_of_prompts_alone_is_read_by_its_column(command, sides, tmp_path):
    rows = [{"question": LONG}, {"question": "short"}, {"other": 1}, {"question": 7}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    arguments = ("data", "overlap", "train.jsonl", "prompts.jsonl", "--test-column", "question", "--json", "-")
    found = json.loads(command(*arguments)[1])
    assert (found["test_groups"], found["test_groups_hit"], found["test"]["rows"]) == (2, 1, 5)
    assert sum(found["test"]["left_out"].values()) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train.jsonl", "none.jsonl"), "'none.jsonl': no such file"),
        (("train.jsonl", "empty.jsonl"), "empty.jsonl: nothing to compare: it holds no rows"),
        (("train.jsonl", "empty.jsonl", "--fail-above", "7"), "a share in [0, 1]"),
        (("train.jsonl", "test.jsonl", "--ngram", "0"), "ngram must be >= 1"),
        (("train.jsonl", "test.jsonl", "--nearr", "0"), "did you mean --near"),
    ],
)
def test_failures_are_one_line(command, sides, tmp_path, arguments, expected):
    (tmp_path / "empty.jsonl").write_text("")
    code, _, error = command("data", "overlap", *arguments)
    assert code in (1, 2)
    assert expected in error
    assert error.count("\n") == 1


def test_either_side_may_have_columns_of_its_own_names(command, sides, tmp_path):
    rows = [{"Frage": row["prompt"], "gut": row["chosen"], "schlecht": row["rejected"]} for row in TRAIN]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = ("--train-columns", "Frage=prompt", "gut=chosen", "schlecht=rejected")
    odd = json.loads(command("data", "overlap", "odd.jsonl", sides[1], *named, "--json", "-")[1])
    plain = json.loads(command("data", "overlap", *sides, "--json", "-")[1])
    assert odd["train"].pop("source") != plain["train"].pop("source")
    assert odd == plain
