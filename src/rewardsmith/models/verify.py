"""`python -m rewardsmith.models.verify FOLDER`: does a checkpoint give the rewards it was saved with?"""

from __future__ import annotations

import sys

from rewardsmith.errors import RewardsmithError
from rewardsmith.models.checkpoint import golden_difference, load_reward_model


def main(folder: str) -> int:
    """Return 0 when every golden reward is reproduced, else 1 with the reason on stderr."""
    try:
        largest, tolerance = golden_difference(load_reward_model(folder, dtype="auto"))
    except RewardsmithError as error:
        print(error, file=sys.stderr)
        return 1
    if not largest <= tolerance:
        print(f"golden rewards differ by {largest:.2e}, allowed {tolerance:.0e}", file=sys.stderr)
        return 1
    print(f"golden rewards differ by {largest:.2e} at most")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
