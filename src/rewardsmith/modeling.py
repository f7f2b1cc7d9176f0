"""The former name of `rewardsmith.models`. Scripts that import the renderer from here keep working."""

import sys

from rewardsmith.models import rendering

sys.modules[f"{__name__}.rendering"] = rendering
