"""Data: tasks, where they come from, and which rows a step reads."""
