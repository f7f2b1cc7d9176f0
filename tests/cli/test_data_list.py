"""`rewardsmith data list`: what can be read by name, as a table, as JSON and as the page of the docs."""

import json
import re

from rewardsmith.cli.main import main
from rewardsmith.data.sets import CATALOGUE


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
