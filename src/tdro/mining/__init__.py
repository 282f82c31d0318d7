"""Hard negatives: passages that look like a query's answer and are not."""
