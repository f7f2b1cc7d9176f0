"""The scoring contract: is it there, does it describe these files, are its golden rewards reproduced?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rewardsmith.errors import RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.checkpoint import LoadedModel, golden_difference
from rewardsmith.models.contract import FILE_NAME


def check_contract(loaded: LoadedModel, core: Any, tokenizer: Any) -> Iterator[Finding]:
    """Give what the contract says about the loaded model; `tokenizer` is as its files have it."""
    contract = loaded.contract
    if contract is None:
        message = f"there is no {FILE_NAME}: nothing says how the rewards were meant to be computed"
        yield Finding("yellow", "contract", message, "write one with `rewardsmith export`")
        return
    try:
        contract.require_match(core, tokenizer)
    except RewardsmithError as error:
        yield Finding("red", "contract", str(error), "restore the file, or export the model again")
        return
    yield Finding("green", "contract", "model, tokenizer and template are those it was written for")
    try:
        largest, allowed = golden_difference(loaded)
    except RewardsmithError as error:
        yield Finding("red", "golden rewards", str(error), "restore the files, or save the model again")
        return
    message = f"{len(contract.golden)} golden rewards differ by {largest:.1e} at most, allowed {allowed:.1e}"
    if largest <= allowed:
        yield Finding("green", "golden rewards", message)
    else:
        yield Finding("red", "golden rewards", message, "the weights are not those that were saved: restore them")
