"""Models and their training: stages 0, 1 and 2."""
