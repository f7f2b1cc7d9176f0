"""Collect human judgements: items, people, assignment, a web page, agreement, export. No torch."""

from rewardsmith.collecting.collection import Collection, create, open_collection
from rewardsmith.collecting.exporting import export_groups
from rewardsmith.collecting.project import Project, load_project

__all__ = ["Collection", "Project", "create", "export_groups", "load_project", "open_collection"]
