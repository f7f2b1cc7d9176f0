"""Audit anything that scores: length, counterfactual probes, invariances, and what colleagues of these find.

The package can be called: `rewardsmith.audit(model, data)` gives an `Audit`.
"""

import sys
from types import ModuleType
from typing import Any

from rewardsmith.audit.auditing import Audit, audit
from rewardsmith.audit.edits import PROBES, Probe, standard_probes
from rewardsmith.audit.plan import AuditPlan
from rewardsmith.audit.probes import ProbeResult

__all__ = ["PROBES", "Audit", "AuditPlan", "Probe", "ProbeResult", "audit", "standard_probes"]


class _Audit(ModuleType):
    """The package, which is also the function: its name belongs to both once it is imported."""

    def __call__(self, *args: Any, **options: Any) -> Audit:
        return audit(*args, **options)


sys.modules[__name__].__class__ = _Audit
