import json

from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

ROW = ROWS["llmbar"][0]


def test_the_label_is_the_better_output_and_the_folder_the_subset(tmp_path):
    folder = tmp_path / "LLMBar" / "Adversarial" / "Neighbor"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps([ROW, {**ROW, "label": 1}]))
    data = load_preferences(tmp_path, merge_prompts=False)
    assert [group.comparisons for group in data] == [(Comparison(1, 0),), (Comparison(0, 1),)]
    assert data[0].metadata == {"subset": "LLMBar/Adversarial/Neighbor"}


def test_unknown_labels_are_counted(read_dirty):
    rows = [{**ROW, "label": label} for label in (0, True, "1", 2)]
    assert read_dirty("llmbar", rows).reasons == {"unknown label": 3}
