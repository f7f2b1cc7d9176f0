"""Streams are read from any place, in their order, and what cannot be used is counted and named."""

import gzip
import json
import logging
from itertools import count, islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import torch
from datasets import Dataset, IterableDataset, load_dataset
from datasets.distributed import split_dataset_by_node
from small_runs import train_logs, trainer_for

from rewardsmith.data.loading import LoadReport
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.training.streams import DatasetStream, FileStream

ROWS = [{"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(23)]


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_jsonl(folder):
    (folder / "train.jsonl").write_text(lines(ROWS))
    return folder / "train.jsonl"


def as_gz(folder):
    path = folder / "train.jsonl.gz"
    path.write_bytes(gzip.compress(lines(ROWS).encode()))
    return path


def as_zst(folder):
    zstandard = pytest.importorskip("zstandard")
    path = folder / "train.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(lines(ROWS).encode()))
    return path


def as_parquet(folder):
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "train.parquet", row_group_size=4)
    return folder / "train.parquet"


def as_csv(folder):
    (folder / "train.csv").write_text("prompt,chosen,rejected\n" + "".join(",".join(r.values()) + "\n" for r in ROWS))
    return folder / "train.csv"


def as_shards(folder):
    (folder / "shards").mkdir(exist_ok=True)
    (folder / "shards" / "part-0.jsonl").write_text(lines(ROWS[:10]))
    pq.write_table(pa.Table.from_pylist(ROWS[10:]), folder / "shards" / "part-1.parquet")
    return folder / "shards"


def as_generator(folder):
    return IterableDataset.from_generator(lambda: iter(ROWS))


def as_table(folder):
    return Dataset.from_list(ROWS).to_iterable_dataset(num_shards=3)


def as_hub(folder):
    return load_dataset("json", data_files=str(as_jsonl(folder)), split="train", streaming=True)


def as_shuffled(folder):
    return as_table(folder).shuffle(seed=3, buffer_size=5)


def as_mapped(folder):
    return as_hub(folder).map(lambda row: {**row, "prompt": row["prompt"] + "!"})


class TorchRows(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(ROWS)


def as_torch(folder):
    return TorchRows()


KINDS = [as_jsonl, as_gz, as_zst, as_parquet, as_csv, as_shards, as_generator, as_table, as_hub, as_shuffled]
KINDS += [as_mapped, as_torch]


def opened(kind, folder):
    source = kind(folder)
    return DatasetStream(source) if hasattr(source, "__iter__") else FileStream(source)


def content(rows) -> list[str]:
    return [str(row if isinstance(row, dict) else (row.prompt, row.completions)) for _, row in rows]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("taken", [0, 1, 9, 10, 23])
def test_reading_goes_on_at_any_place_in_a_fresh_stream(tmp_path, kind, taken):
    first = opened(kind, tmp_path)
    rows = first.read({}, 0, LoadReport())
    before = content(islice(rows, taken))
    place = json.loads(json.dumps(first.tell())) if taken else {}
    (tmp_path / "again").mkdir()
    after = content(opened(kind, tmp_path / "again").read(place, 0, LoadReport()))
    assert len(before) == taken
    assert before + after == content(opened(kind, tmp_path).read({}, 0, LoadReport()))


def test_a_second_reader_of_the_same_data_set_does_not_move_the_place():
    stream = DatasetStream(as_table(None))
    rows = stream.read({}, 0, LoadReport())
    before = content(islice(rows, 7))
    assert len(list(stream.rows)) == 23
    rest = content(DatasetStream(as_table(None)).read(stream.tell(), 0, LoadReport()))
    assert before + rest == content(DatasetStream(as_table(None)).read({}, 0, LoadReport()))


def test_rows_of_a_data_set_are_counted_on_after_it_went_on():
    stream = DatasetStream(as_table(None), "train")
    list(islice(stream.read({}, 0, LoadReport()), 7))
    fresh = DatasetStream(as_table(None), "train")
    assert next(fresh.read(stream.tell(), 0, LoadReport()))[0] == "train row 7"


def test_a_stream_that_was_split_by_process_is_refused():
    with pytest.raises(ConfigError, match="pass the whole stream"):
        DatasetStream(split_dataset_by_node(as_table(None), 0, 2))


def test_rows_whose_columns_are_named_are_read_again_up_to_the_place(tmp_path):
    rows = [{"prompt": f"q{n}", "left": f"a{n}", "right": f"b{n}", "who": "A" if n % 2 else "B"} for n in range(9)]
    (tmp_path / "own.jsonl").write_text(lines(rows))
    columns = {"left": "answer_a", "right": "answer_b", "who": "winner"}

    def stream():
        return FileStream(tmp_path / "own.jsonl", columns=columns)

    whole = content(stream().read({}, 0, LoadReport()))
    first = stream()
    before = content(islice(first.read({}, 0, LoadReport()), 4))
    assert len(whole) == 9
    assert before + content(stream().read(first.tell(), 0, LoadReport())) == whole


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        FileStream(tmp_path / "none.jsonl")


def test_the_fingerprint_tells_other_files_apart(tmp_path):
    path = as_jsonl(tmp_path)
    before = FileStream(path).fingerprint()
    assert FileStream(path).fingerprint() == before
    path.write_text(lines(ROWS[:-1]))
    assert FileStream(path).fingerprint() != before


BROKEN = [*map(json.dumps, ROWS[:3]), "{broken", json.dumps({"prompt": "x", "chosen": 5, "rejected": None})]


def test_rows_that_cannot_be_read_are_counted_and_named(tmp_path, caplog):
    (tmp_path / "train.jsonl").write_text("\n".join([*BROKEN, *map(json.dumps, ROWS[3:12])]) + "\n")
    with caplog.at_level(logging.WARNING):
        trainer = trainer_for(tmp_path / "run", FileStream(tmp_path / "train.jsonl"), max_steps=3)
        assert len(train_logs(trainer)) == 3
    report = trainer.encoding_reports["train"]
    assert (report.rows, report.groups) == (14, 12)
    assert sum(report.dropped.values()) == 2
    assert "train.jsonl:row 4" in caplog.text
    assert "train.jsonl:row 5" in str(report)


def test_a_stream_of_another_layout_ends_after_a_thousand_rows(tmp_path):
    endless = IterableDataset.from_generator(lambda: ({"a": number} for number in count()))
    trainer = trainer_for(tmp_path, endless, max_steps=3)
    with pytest.raises(DataError, match=r"first 1000 rows.*train row 0"):
        trainer.train()


def test_a_stream_of_which_nothing_is_left_is_an_error(tmp_path):
    trainer = trainer_for(tmp_path, IterableDataset.from_generator(lambda: iter(ROWS)), max_steps=3, max_length=2)
    with pytest.raises(DataError, match="no rows are left"):
        trainer.train()


def test_conversations_of_a_stream_leave_their_template_with_the_tokenizer(tmp_path):
    def turns(row):
        talk = [{"role": "user", "content": row["prompt"]}]
        return {side: [*talk, {"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}

    trainer = trainer_for(
        tmp_path, IterableDataset.from_generator(lambda: map(turns, tiny_models.pairs(8))), max_steps=1
    )
    trainer.processing_class.chat_template = None
    trainer.train()
    assert trainer.processing_class.chat_template
