import re
import shutil
import subprocess

import pytest

from rewardsmith.data.simulate import BiasedScorer, GoldScorer, SimulationConfig, simulate
from rewardsmith.errors import DataError
from rewardsmith.evaluation import Resampling, compare, evaluate, score_groups
from rewardsmith.report import details, render_report, write_report
from rewardsmith.report.page import MAX_BYTES, flatten

HOW = Resampling(100, 0)
HOSTILE = (
    '<script>window.hit=1</script><img src=x onerror="window.hit=1"><style>*{display:none}</style>'
    "</div></details></section><!-- \x00\u202eright to left\u202c &lt; {{ 7*7 }} {% raw %} "
    '" onmouseover="window.hit=1" javascript:alert(1) <a href="https://example.org">x</a>'
)


def hostile_results():
    rows = [
        {"prompt": f"{HOSTILE} {i}", "chosen": f"{HOSTILE} good {i}", "rejected": f"{HOSTILE} bad bad {i}"}
        for i in range(12)
    ]
    result = evaluate(lambda prompt, answers: [float(len(a)) for a in answers], rows, how=HOW)
    plain = {**result.to_dict(), **details(result.scored, HOW)}
    probe = {"name": HOSTILE, "change": {"value": 1.0, "n": 3}, "accused": True, "example": {"before": HOSTILE}}
    finding = {"level": "red", "text": HOSTILE}
    return [
        plain
        | {"scorer": HOSTILE + "\ud800", "data": HOSTILE, "probes": [probe], "findings": [finding], HOSTILE: HOSTILE}
    ]


def test_every_section_of_an_audit_is_there(full_audit, read_page):
    page = read_page(render_report([full_audit]))
    wanted = ["Summary", "Findings", "Accuracy", "Where it is right", "Calibration", "Margins", "Length"]
    wanted += ["Style and artefact probes", "Invariances", "Over-optimisation", "Selective risk", "Contamination"]
    assert [title for title in wanted if title not in page.headings] == []
    assert page.headings[-1] == "Worst disagreements"
    assert "Other numbers" not in page.headings
    pictures = [attributes.get("aria-label", "") for tag, attributes in page.tags if tag == "svg"]
    for name in ("Reliability diagram", "Histogram", "reward against KL", "risk against coverage", "Reward against"):
        assert any(name.lower() in picture.lower() for picture in pictures), name


def test_the_page_loads_nothing_and_runs_nothing(full_audit, read_page):
    raw = render_report([full_audit])
    page = read_page(raw)
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "form", "video", "base"}
    links = [attributes.get("href") for tag, attributes in page.tags if "href" in attributes]
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert b"url(" not in raw
    assert b"@import" not in raw
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_hostile_text_stands_as_text(read_page):
    raw = render_report(hostile_results())
    page = read_page(raw)
    assert "<script>window.hit=1</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "⟨U+202E⟩" in page.text
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert [tag for tag, _ in page.tags].count("style") == 1
    assert b"\x00" not in raw
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


@pytest.mark.slow
def test_a_browser_executes_nothing_of_hostile_text(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    path = write_report(hostile_results(), tmp_path / "hostile.html")
    # Without the page's own policy a script would run; the escaping alone must hold.
    page = re.sub(r"<meta http-equiv[^>]*>", "", path.read_text())
    path.write_text(page.replace("</body>", "<script>document.title='hit='+window.hit</script></body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "<title>hit=undefined</title>" in done.stdout


def test_equal_results_give_equal_bytes(full_audit):
    assert render_report([full_audit]) == render_report([full_audit])


def test_long_texts_are_shortened_until_the_file_is_small_and_the_page_says_so(read_page):
    rows = [{"prompt": f"p{i} " * 9000, "chosen": f"a{i} " * 9000, "rejected": f"b{i} c " * 9000} for i in range(12)]
    result = evaluate(lambda prompt, answers: [float(len(a)) for a in answers], rows, how=HOW)
    plain = {**result.to_dict(), **details(result.scored, HOW)}
    raw = render_report([plain | {"data": f"set {i}"} for i in range(12)])
    assert len(raw) < MAX_BYTES
    page = read_page(raw)
    assert "To keep this file below 2 MB" in page.text
    assert "characters left out" in page.text


def test_undefined_numbers_are_called_undefined_and_never_zero(read_page):
    estimate = {"value": None, "low": None, "high": None, "n": 0}
    page = read_page(render_report([{"scorer": "s", "data": "d", "metrics": {"accuracy": estimate}}]))
    assert "undefined (n=0)" in page.text
    assert "nan" not in page.text.lower().split()


def test_empty_and_odd_parts_break_nothing():
    odd = {"probes": [None, {"name": "x"}], "invariances": [{}], "length": {"points": [[1]]}, "findings": [{}]}
    odd |= {"over_optimisation": {"n": [1]}, "risk": {"by_confidence": {"m": {}}}, "contamination": None, "shift": []}
    assert b"</html>" in render_report([{"scorer": "s", "data": "d", **odd}])
    assert b"</html>" in render_report([{}])


def test_what_doctor_found_stands_on_a_page_with_its_remedy(read_page):
    row = {"check": "swapped labels", "level": "yellow", "message": "9 of 10 contradict", "remedy": "look at them"}
    plain = {"schema": "rewardsmith.doctor", "schema_version": 1, "model": None, "data": "d.jsonl", "findings": [row]}
    page = read_page(render_report([plain]))
    for text in ("data alone", "d.jsonl", "swapped labels: 9 of 10 contradict", "look at them"):
        assert text in page.text
    assert "Other numbers" not in page.headings


def test_more_models_than_marks_have_a_line_each(read_page):
    def page(number):
        metrics = {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 50}}
        results = [{"scorer": f"m{i}", "data": d, "metrics": metrics} for i in range(number) for d in ("x", "y")]
        return read_page(render_report(results)).text

    assert "x: m4" in page(5)
    assert "x: m3" not in page(4)


def test_no_result_is_an_error():
    with pytest.raises(DataError, match="no result to report"):
        render_report([])


def test_the_file_appears_whole_and_replaces_the_old_one(full_audit, tmp_path):
    path = tmp_path / "new folder" / "report.html"
    assert write_report([full_audit], path) == path
    first = path.read_bytes()
    write_report([{"scorer": "s", "data": "d"}], path)
    assert path.read_bytes() != first
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_two_models_on_two_sets_make_one_summary_with_a_comparison(read_page):
    groups = list(simulate(SimulationConfig(prompts=30, answers=(2, 2))))
    scorers = {"first": GoldScorer(), "second": BiasedScorer(noise=3.0)}
    results = []
    for name, scorer in scorers.items():
        for data in ("one", "two"):
            found = evaluate(scorer, groups, how=HOW)
            results.append(found.to_dict() | {"scorer": name, "data": data})
    sides = [score_groups(scorer, groups) for scorer in scorers.values()]
    comparison = compare("first", sides[0], "second", sides[1], HOW).to_dict() | {"data": "both"}
    page = read_page(render_report([*results, comparison]))
    assert page.headings.count("Summary") == 1
    assert "Paired comparison" in page.headings
    assert "best baseline" in page.text


def test_the_headline_of_a_comparison_names_the_models(read_page):
    groups = list(simulate(SimulationConfig(prompts=30, answers=(2, 2))))
    sides = [score_groups(scorer, groups) for scorer in (GoldScorer(), BiasedScorer(noise=9.0))]
    comparison = compare("models/good", sides[0], "models/noisy", sides[1], HOW).to_dict() | {"data": "d"}
    page = read_page(render_report([comparison]))
    assert "good is better than noisy by" in page.text or "good is not shown to be better than noisy" in page.text


def test_an_audit_and_its_evaluation_are_one_entry(full_audit):
    flat = flatten(full_audit, 1)
    assert "evaluation" not in flat
    assert flat["metrics"] == full_audit["evaluation"]["metrics"]
    assert flat["probes"] == full_audit["probes"]


def test_a_benchmark_shows_the_score_of_its_baselines_and_what_was_left_out(read_page):
    score = {"value": 0.7, "n": 90, "low": 0.6, "high": 0.8}
    result = {
        "schema": "rewardsmith.benchmark",
        "benchmark": "llmbar",
        "scorer": "m",
        "score": score,
        "parts": {"Natural": score},
        "score_of_baselines": {"longest": score | {"value": 0.56}, "most_markdown": score | {"value": 0.51}},
        "left_out": {"longer than the model reads": 1234},
    }
    page = read_page(render_report([result]))
    assert "score of baseline: longest 0.560" in page.text
    assert "score of baseline: most markdown 0.510" in page.text
    assert "1,234 rows left out (longer than the model reads): the score is not comparable with published" in page.text
    assert "Other numbers" not in page.headings
    assert "left out (" not in read_page(render_report([result | {"left_out": {}}])).text


def test_a_turning_point_without_an_upper_end_says_from_where_on(full_audit, read_page):
    part = full_audit["over_optimisation"]
    turning = {"value": 1.5, "n": 20, "low": 1.2, "high": None}
    changed = full_audit | {"over_optimisation": part | {"fit": part["fit"] | {"turning_kl": turning}}}
    assert "1.500 [1.200 or more] (n=20)" in read_page(render_report([changed])).text


def test_very_many_results_lose_their_details_before_their_findings(full_audit, read_page, monkeypatch):
    names = [f"model {i}" for i in range(2)]
    audits = [full_audit | {"scorer": name, "data": "all"} for name in names]
    inner = {**full_audit["evaluation"], "worst": full_audit["worst"]}
    evaluations = [inner | {"scorer": name, "data": f"set {k}"} for name in names for k in range(6)]
    for limit, shown in ((350_000, "of results without findings "), (200_000, "")):
        monkeypatch.setattr("rewardsmith.report.page.MAX_BYTES", limit)
        raw = render_report(audits + evaluations)
        page = read_page(raw)
        assert len(raw) < limit
        assert f"details {shown}are left out" in page.text
        assert page.headings.count("Accuracy") == 14
        assert page.headings.count("Findings") == 2
        assert page.headings.count("Style and artefact probes") == (2 if shown else 0)
        assert page.text.count("sections left out here; the JSON result has them") == (12 if shown else 14)
