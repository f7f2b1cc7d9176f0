"""One HTML file that shows what was measured: no script, no request to anywhere, text of answers shown as text."""

from rewardsmith.report.details import details
from rewardsmith.report.writing import render_report, write_report

__all__ = ["details", "render_report", "write_report"]
