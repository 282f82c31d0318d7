"""Evaluation: models scored on test sets, and compared.

intervals.py     Where a difference would lie with other queries, and with other seeds too: 95 % intervals that hold
                 for few of both.
models.py        Evaluate any models on benchmarks: what ``tdro evaluate MODEL… --on NAME…`` does.
models_table.py  Results of models on benchmarks as text: a line a test set, and the mean of each benchmark.
results.py       Results of evaluations on disk, read back and checked: the same queries and passages, a value a
                 query.
significance.py  Is one model better than another on these queries, or could it be chance? Paired over queries.
"""
