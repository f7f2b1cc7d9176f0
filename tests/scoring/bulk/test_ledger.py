"""Shards and locks of a ledger."""

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.scoring.bulk.ledger import Shard, writer_lock


def test_every_part_belongs_to_exactly_one_shard():
    shards = [Shard.parse(f"{index}/3") for index in range(3)]
    assert [sum(shard.owns(part) for shard in shards) for part in range(10)] == [1] * 10


@pytest.mark.parametrize("text", ["3/3", "1", "a/2", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="give i/n"):
        Shard.parse(text)


def test_shards_share_a_lock_and_a_whole_job_does_not(tmp_path):
    folder, out = tmp_path / "ledger", tmp_path / "out"
    with writer_lock(folder, out, shared=True), writer_lock(folder, out, shared=True):
        pass
    with writer_lock(folder, out), pytest.raises(ConfigError), writer_lock(folder, out):
        pass
