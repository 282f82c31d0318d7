"""Stage 1: from losses to task weights."""
