"""Score files of any size, so that a job can be killed at any moment and run again."""
