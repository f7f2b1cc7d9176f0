"""The tree of errors.

Every error that Rewardsmith raises on purpose is a `RewardsmithError` and also the standard error a caller
would expect, so `except ValueError` keeps working. A message says what came, what is accepted and what to do.
"""


class RewardsmithError(Exception):
    """Root of every error raised on purpose; the CLI prints it as one line."""


class DataError(RewardsmithError, ValueError):
    """A row, file or data set that cannot be used. The message names file and row."""


class ConfigError(RewardsmithError, ValueError):
    """A setting, flag or recipe that cannot be used. The message names the nearest valid one."""


class CheckpointError(RewardsmithError, RuntimeError):
    """A checkpoint that cannot be loaded, saved or trusted."""


class ScoringError(RewardsmithError, RuntimeError):
    """A text that cannot be scored. Never replaced by a plausible number."""


class MissingExtraError(RewardsmithError, ImportError):
    """An optional dependency is not installed; the message gives the `pip install` line."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Build the error for an optional `package` that the extra `rewardsmith[extra]` installs."""
    return MissingExtraError(f"{package} is not installed; run: pip install 'rewardsmith[{extra}]'")
