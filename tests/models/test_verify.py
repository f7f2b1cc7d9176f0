"""What verify says of a folder that is none, or holds no contract."""

import pytest

from rewardsmith.errors import CheckpointError
from rewardsmith.models.verify import verify_folder


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        list(verify_folder(tmp_path / "nowhere"))


def test_a_folder_without_a_contract_fails_once_and_says_how_to_get_one(tmp_path):
    (found,) = verify_folder(tmp_path)
    assert (found.check, found.passed) == ("contract", False)
    assert "write one with rewardsmith export" in found.message
