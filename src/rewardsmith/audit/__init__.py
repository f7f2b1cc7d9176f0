"""Audit anything that scores: length, counterfactual probes, invariances, and what colleagues of these find."""

from rewardsmith.audit.auditing import Audit, audit
from rewardsmith.audit.edits import PROBES, Probe, standard_probes
from rewardsmith.audit.plan import AuditPlan
from rewardsmith.audit.probes import ProbeResult

__all__ = ["PROBES", "Audit", "AuditPlan", "Probe", "ProbeResult", "audit", "standard_probes"]
