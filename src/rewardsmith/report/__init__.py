"""One HTML file that shows what was measured: no script, no request to anywhere, text of answers shown as text."""

from rewardsmith.evaluation.evaluating import details
from rewardsmith.report.page import print_audits, render_report, write_report

__all__ = ["details", "print_audits", "render_report", "write_report"]
