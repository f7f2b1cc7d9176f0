"""`python -m rewardsmith` is the `rewardsmith` command."""

import sys

from rewardsmith.cli.main import main

sys.exit(main())
