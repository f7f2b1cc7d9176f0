"""Every entry of the catalogue: its published layout is read from memory, files, folders and through `datasets`."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from published_rows import ROWS

from rewardsmith.data import detecting, load_preferences, opening
from rewardsmith.data.sets import CATALOGUE, find
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.tables import read_hub

# The same columns as another entry, or none of their own: these are read when they are named.
NAMED_ONLY = {
    "hh-rlhf": None,
    "skywork-reward-preference": None,
    "skywork-reward-preference-v0.1": None,
    "tulu-3-preference": None,
    "helpsteer": "helpsteer2",
    "shp-2": "shp",
    "oasst1": "oasst2",
    "arena-100k": "chatbot-arena",
    "arena-140k": "chatbot-arena",
    "mt-bench-human": "chatbot-arena",
}
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
# A data set
"""


def test_every_entry_has_hand_made_rows():
    assert set(ROWS) == set(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_published_layout_is_read_from_memory_lines_and_parquet(name, read_published):
    groups = read_published(name, ROWS[name], chosen=name not in NAMED_ONLY)
    assert groups
    assert all(group.completions and group.source for group in groups)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_columns_choose_the_reader_where_they_can(name):
    assert detecting.choose(ROWS[name][0]) == NAMED_ONLY.get(name, name)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_variant_reads_the_rows(name, read_published):
    for variant in CATALOGUE[name].variants:
        assert read_published(f"{name}:{variant}", ROWS[name])


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.hub_id])
def test_a_copy_of_the_hub_repository_is_read_as_the_hub_itself_is(name, tmp_path, monkeypatch):
    """Parquet and a README with its YAML header, read by `datasets` as it reads the hub, and by our own folder code."""
    entry, _ = find(name)
    repository = tmp_path / entry.hub_id
    (repository / "data").mkdir(parents=True)
    split = "train_prefs" if name == "ultrafeedback-binarized" else "train"
    (repository / "README.md").write_text(
        CARD.replace("split: train", f"split: {split}").replace("/train-", f"/{split}-")
    )
    pq.write_table(pa.Table.from_pylist(ROWS[name]), repository / "data" / f"{split}-00000-of-00001.parquet")
    here = load_preferences(repository, reader=name, split="train_prefs" if split != "train" else None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [row for _, row in read_hub(entry.hub_id, split)]
    there = load_preferences(rows, reader=name)
    assert [(g.prompt, g.completions, g.comparisons) for g in there] == [
        (g.prompt, g.completions, g.comparisons) for g in here
    ]
    assert here.report.rows == there.report.rows


def test_a_subset_of_a_hub_repository_is_a_configuration_or_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "title" / "helpful-base"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(json.dumps(ROWS["hh-rlhf"][0]) + "\n")
    assert [where for where, _ in read_hub("owner/title/helpful-base", None)] == ["owner/title/helpful-base:row 0"]
    configs = "configs:\n- config_name: axis\n  data_files: axis.jsonl\n- config_name: pairs\n  data_files: p.jsonl\n"
    card = f"---\n{configs}---\n"
    other = tmp_path / "owner" / "two"
    other.mkdir()
    (other / "README.md").write_text(card)
    (other / "axis.jsonl").write_text('{"a": 1}\n')
    (other / "p.jsonl").write_text('{"b": 1}\n{"b": 2}\n')
    assert [row for _, row in read_hub("owner/two/pairs", None)] == [{"b": 1}, {"b": 2}]
    with pytest.raises(DataError, match="axis"):
        list(read_hub("owner/two", None))


def test_every_entry_says_where_it_comes_from():
    for entry in CATALOGUE.values():
        assert entry.licence, entry.name
        assert entry.summary, entry.name
        assert entry.paper_url.startswith("https://"), entry.name
        assert entry.url.startswith("https://"), entry.name
        assert entry.labels in ("human", "AI", "automatic", "constructed")


def test_a_hub_id_of_one_entry_names_its_reader():
    assert detecting.find_name("Anthropic/hh-rlhf") == "hh-rlhf"
    assert detecting.find_name("Anthropic/hh-rlhf/helpful-base") == "hh-rlhf"
    assert detecting.find_name("nvidia/HelpSteer2") == "helpsteer2"
    assert detecting.find_name("nvidia/HelpSteer2/preference") == "helpsteer2-preference"
    assert detecting.find_name("openai/summarize_from_feedback") is None
    assert detecting.find_name("nobody/nothing") is None


def test_a_local_copy_that_is_named_like_its_repository_is_known(tmp_path):
    for folder in ("Anthropic/hh-rlhf/harmless-base", "datasets--Anthropic--hh-rlhf/snapshots/09be8c/helpful-base"):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "train.jsonl"
        path.write_text(json.dumps(ROWS["hh-rlhf"][0]) + "\n")
        data = load_preferences(path)
        assert data.report.reader == "hh-rlhf"
        assert data[0].prompt[0].role == "user"
        assert load_preferences(path, reader="pair")[0].prompt == ""


def test_an_unknown_reader_or_variant_names_what_there_is():
    with pytest.raises(ConfigError, match="did you mean 'hh-rlhf'"):
        list(opening.read("hh-rlfh", "x"))
    with pytest.raises(ConfigError, match="did you mean 'ranking'"):
        load_preferences([ROWS["shp"][0]], reader="rankin")
    with pytest.raises(ConfigError, match="row formats are pair, tokens"):
        find("zzz")
    with pytest.raises(ConfigError, match="its variants: webgpt:stripped"):
        find("webgpt:bare")
    with pytest.raises(ConfigError, match="get the data set from the hub id stanfordnlp/SHP"):
        list(opening.read("shp", "nowhere"))


def test_two_fitting_data_sets_are_named_and_the_flag_is_told(tmp_path):
    both = {**ROWS["llmbar"][0], **ROWS["wmt-darr"][0]}
    with pytest.raises(DataError, match=r"llmbar and wmt-darr; name one with --reader \(reader='llmbar'\)"):
        load_preferences([both])
    assert load_preferences([both], reader="llmbar").report.reader == "llmbar"
    (tmp_path / "both.jsonl").write_text(json.dumps(both) + "\n")
    with pytest.raises(DataError, match=r"^both.jsonl: the columns .* fit the data sets llmbar and wmt-darr"):
        load_preferences(tmp_path / "both.jsonl")
    (tmp_path / "both.jsonl").unlink()
    for name in ("llmbar", "shp"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(ROWS[name][0]) + "\n")
    with pytest.raises(DataError, match=r"llmbar \(llmbar.jsonl\), shp \(shp.jsonl\); name one with --reader"):
        load_preferences(tmp_path)


def test_a_named_reader_takes_the_files_of_a_folder_that_are_of_its_layout(tmp_path):
    for name in ("summarize-from-feedback", "summarize-from-feedback-axis"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    for name in ("summarize-from-feedback", "summarize-from-feedback-axis"):
        loaded = load_preferences(tmp_path, reader=name)
        assert loaded.report.rows == len(ROWS[name])
        assert not loaded.report.dropped
        (note,) = loaded.report.notes
        assert "1 file of another layout is not read" in note


def test_rows_in_memory_and_files_choose_the_same_reader(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["shp"][0]) + "\n")
    assert load_preferences(ROWS["shp"]).report.readers == load_preferences(path).report.readers == ["shp"]


def test_a_set_of_which_nothing_remains_is_an_error():
    row = {**ROWS["llmbar"][0], "label": 3}
    with pytest.raises(DataError, match="left out every row"):
        load_preferences([row])
    assert load_preferences([row], on_error="count").report.dropped == {"unknown label": 1}


def test_a_hub_id_alone_reads_the_subset_and_split_of_the_entry(monkeypatch):
    asked = []
    monkeypatch.setattr(opening, "read_hub", lambda *place: asked.append(place) or iter(()))
    for name in ("helpsteer2-preference", "ultrafeedback-binarized", "shp", "summarize-from-feedback-axis"):
        entry, _ = find(name)
        list(opening.open_rows(entry, entry.hub_id))
    entry, _ = find("mt-bench-human")
    list(opening.open_rows(entry, entry.hub_id, "gpt4_pair"))
    entry, _ = find("hh-rlhf")
    list(opening.open_rows(entry, "Anthropic/hh-rlhf/harmless-base", "test"))
    assert asked == [
        ("nvidia/HelpSteer2/preference", None),
        ("HuggingFaceH4/ultrafeedback_binarized", "train_prefs"),
        ("stanfordnlp/SHP", None),
        ("openai/summarize_from_feedback/axis", "test"),
        ("lmsys/mt_bench_human_judgments", "gpt4_pair"),
        ("Anthropic/hh-rlhf/harmless-base", "test"),
    ]
