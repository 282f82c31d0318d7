"""Learn how much of each data set to fine-tune an embedding model on, with task-level DRO."""
