"""`python -m rewardsmith.models.verify FOLDER`: does a checkpoint give the rewards it was saved with?"""

from __future__ import annotations

import sys

from rewardsmith.errors import RewardsmithError
from rewardsmith.models.checkpoint import golden_difference, load_reward_model
from rewardsmith.models.contract import read_contract


def main(folder: str, trust_remote_code: bool = False) -> int:
    """Return 0 when every golden reward is reproduced, else 1 with the reason on stderr."""
    try:
        contract = read_contract(folder)
        # An adapter's base may be stored in another precision than the one it was trained and judged in.
        dtype = "auto" if contract is None else contract.dtype
        loaded = load_reward_model(folder, dtype=dtype, trust_remote_code=trust_remote_code)
        largest, tolerance = golden_difference(loaded)
    except RewardsmithError as error:
        print(error, file=sys.stderr)
        return 1
    if not largest <= tolerance:
        print(f"golden rewards differ by {largest:.2e}, allowed {tolerance:.0e}", file=sys.stderr)
        return 1
    print(f"golden rewards differ by {largest:.2e} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--trust-remote-code" in sys.argv[2:]))
