"""Which rows each step reads. A plan is a pure function of (seed, step): it has no state to save.

row_plans.py   The rows of step t: of all tasks (stage 1), or of one task (stages 0 and 2).
task_order.py  Which task each step of stages 0 and 2 reads, so that over the run the tasks get their weights.
permute.py     Random permutations that take no memory: the place of any row is computed by itself.
holdout.py     Which rows train the reference and which are kept for stage 1.
"""
