"""The web page of a project."""
