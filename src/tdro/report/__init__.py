"""The report that a run leaves behind."""
