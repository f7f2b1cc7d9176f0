from published_ratings import message
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

TREE = ROWS["oasst2"]


def nested():
    """The same tree as one row, as the files *.trees.jsonl.gz hold it."""
    replies: dict = {row["message_id"]: [] for row in TREE}
    rows = {row["message_id"]: {**row, "replies": replies[row["message_id"]]} for row in TREE}
    for row in TREE:
        if row["parent_id"]:
            replies[row["parent_id"]].append(rows[row["message_id"]])
    return {"message_tree_id": "m1", "tree_state": "ready_for_export", "prompt": rows["m1"]}


def test_a_tree_becomes_rankings_and_attribute_labels(read_published):
    first, second = read_published("oasst1", TREE)
    assert [m.content for m in first.prompt] == ["Why is the sky blue?"]
    assert [side[0].content for side in first.completions] == ["Scattering.", "It is not."]
    assert first.comparisons == (Comparison(0, 1),)
    assert first.ratings == {"spam": (0.0, 0.0), "quality": (0.9, 0.2)}
    assert [m.role for m in second.prompt] == ["user", "assistant", "user"]
    assert second.comparisons == ()
    assert second.ratings["quality"] == (0.8,)
    assert first.metadata["lang"] == "en"


def test_the_nested_layout_gives_the_same_groups_and_counts_messages():
    flat = load_preferences(TREE, reader="oasst2", merge_prompts=False)
    tree = load_preferences([nested()], reader="oasst2", merge_prompts=False)
    assert [(g.prompt, g.completions, g.comparisons, g.ratings) for g in tree] == [
        (g.prompt, g.completions, g.comparisons, g.ratings) for g in flat
    ]
    assert flat.report.rows == tree.report.rows == 5


def test_every_message_is_in_a_group_or_counted(read_dirty):
    more = [
        message("m6", "m3", "prompter", "Why not?"),
        message("m7", "m2", "prompter", "gone", deleted=True),
        message("m8", "m7", "assistant", "lost"),
        message("m9", "m2", "assistant", "twice in a row"),
        message("m5", "m4", "assistant", "again"),
        message("m10", "m1", "assistant", "bad", review_result=False),
        message("n1", None, "prompter", "Other tree", message_tree_id="n1"),
        message("m11", "m1", "assistant", "late", rank=2),
    ]
    found = read_dirty("oasst2", [*TREE, *more])
    assert found.reasons == {
        "nothing to compare": 2,
        "deleted": 1,
        "no parent": 1,
        "turns do not alternate": 1,
        "repeated message": 1,
        "failed review": 1,
        "tree out of order": 1,
    }
    assert [len(group) for group in found.groups] == [2, 1]


def test_unranked_replies_with_labels_are_ratings_only(read_published):
    rows = [TREE[0], {**TREE[1], "rank": None}, {**TREE[2], "rank": None}]
    (group,) = read_published("oasst2", rows)
    assert group.comparisons == ()
    assert group.ratings["quality"] == (0.9, 0.2)


def test_of_a_repository_only_the_parquet_of_the_hub_is_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(TREE), tmp_path / "data" / "train-00000-of-00001-b42a.parquet")
    (tmp_path / "2023-04-12_oasst_spam.messages.jsonl").write_text('{"message_id": "x"}\n')
    assert load_preferences(tmp_path, reader="oasst1").report.rows == 5
