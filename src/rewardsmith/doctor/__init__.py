"""Find what silently ruins a run: in a checkpoint, in a model at hand, in preference data.

The package can be called: `rewardsmith.doctor(model, data)` examines both and gives a `Diagnosis`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rewardsmith.findings import Finding, worst

if TYPE_CHECKING:
    from rewardsmith.doctor.checkpoint import examine_foreign, examine_loaded
    from rewardsmith.doctor.examining import Diagnosis, doctor, examine
    from rewardsmith.doctor.subject import Examination

_HOMES = {
    "Diagnosis": "rewardsmith.doctor.examining",
    "Examination": "rewardsmith.doctor.subject",
    "doctor": "rewardsmith.doctor.examining",
    "examine": "rewardsmith.doctor.examining",
    "examine_foreign": "rewardsmith.doctor.checkpoint",
    "examine_loaded": "rewardsmith.doctor.checkpoint",
}

__all__ = ["Diagnosis", "Examination", "Finding", "doctor", "examine", "examine_foreign", "examine_loaded", "worst"]


class _Doctor(ModuleType):
    """The package, which is also the function: its name belongs to both once it is imported."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.doctor(*args, **options)

    def __getattr__(self, name: str) -> Any:
        # Loaded on first use, so that words can be counted without torch.
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


sys.modules[__name__].__class__ = _Doctor
