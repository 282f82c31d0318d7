"""Which rows a step reads: a pure function of (seed, step).

holdout.py     Which rows stage 0 may read and which stage 1, so that the reference is judged on rows it has not
               memorised.
permute.py     Random permutations that are evaluated point by point, so that a plan needs no memory.
row_plans.py   Which rows step t reads: a pure function of (seed, step).
task_order.py  Which task each batch is drawn from, so that batches are homogeneous and the weights are kept.
"""
