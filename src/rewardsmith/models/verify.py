"""Does a checkpoint hold the files and give the rewards it was saved with?

`python -m rewardsmith.models.verify FOLDER` checks the golden rewards alone, as saving does in a fresh process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rewardsmith.errors import CheckpointError, RewardsmithError
from rewardsmith.models.checkpoint import load_reward_model
from rewardsmith.models.contract import FILE_NAME, ScoringContract, hash_reward_files, read_contract
from rewardsmith.models.foreign.folder import local_folder, member_folders
from rewardsmith.models.golden import golden_difference


@dataclass(frozen=True, slots=True)
class Verified:
    """One check of a folder: what was checked, whether it passed, and what was found."""

    check: str
    passed: bool
    message: str


def verify_folder(
    folder: str | Path, trust_remote_code: bool = False, revision: str | None = None
) -> Iterator[Verified]:
    """Check contract, files and golden rewards of a saved model, one after the other.

    `folder` may be a hub id, and `revision` a branch, tag or commit of it.

    A contract that cannot be read, or files that changed, do not keep the later checks from being made.

    Raises:
        CheckpointError: there is no such folder.
    """
    folder = local_folder(str(folder), revision)
    if not Path(folder).is_dir():
        raise CheckpointError(f"{folder}: no such folder; name one that train or export wrote")
    if (members := member_folders(str(folder))) != [str(folder)]:
        for member in members:
            for found in verify_folder(member, trust_remote_code):
                yield replace(found, check=f"{Path(member).name}: {found.check}")
        return
    try:
        contract = read_contract(folder)
    except CheckpointError as error:
        yield Verified("contract", False, str(error))
        return
    if contract is None:
        yield Verified("contract", False, f"{folder} has no {FILE_NAME}; write one with rewardsmith export")
        return
    golden = len(contract.golden)
    yield Verified(
        "contract", True, f"format {contract.format_version}, {contract.architecture}, {golden} golden texts"
    )
    yield _check_files(folder, contract)
    yield _check_golden(folder, trust_remote_code)


def _check_files(folder: str | Path, contract: ScoringContract) -> Verified:
    """Compare the files with the hashes that the contract keeps."""
    if not contract.files:
        return Verified("files", True, "the contract is of an earlier version and keeps no checksums; export it again")
    now = hash_reward_files(folder)
    differences = {
        "missing": contract.files.keys() - now.keys(),
        "changed": {name for name in contract.files.keys() & now.keys() if contract.files[name] != now[name]},
        "new": {
            name
            for name in now.keys() - contract.files.keys()
            if name.endswith((".safetensors", ".bin", ".py", ".index.json"))
        },
    }
    found = [f"{word}: {', '.join(sorted(names))}" for word, names in differences.items() if names]
    return Verified("files", not found, "; ".join(found) or f"{len(contract.files)} files as they were saved")


def _check_golden(folder: str | Path, trust_remote_code: bool) -> Verified:
    """Load the model and compare its golden rewards."""
    try:
        contract = read_contract(folder)
        # An adapter's base may be stored in another precision than the one it was trained and judged in.
        dtype = "auto" if contract is None else contract.dtype
        loaded = load_reward_model(folder, dtype=dtype, trust_remote_code=trust_remote_code)
        largest, tolerance = golden_difference(loaded)
    except RewardsmithError as error:
        return Verified("golden rewards", False, str(error))
    message = f"golden rewards differ by {largest:.2e} at most, allowed {tolerance:.0e}"
    return Verified("golden rewards", largest <= tolerance, message)


def main(folder: str, trust_remote_code: bool = False) -> int:
    """Return 0 when every golden reward is reproduced, else 1 with the reason on stderr."""
    found = _check_golden(folder, trust_remote_code)
    print(found.message, file=sys.stdout if found.passed else sys.stderr)
    return int(not found.passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--trust-remote-code" in sys.argv[2:]))
