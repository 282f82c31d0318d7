"""Evaluation: models scored on test sets, and compared.

evaluate_models.py  Evaluate any models on benchmarks: what ``tdro evaluate MODEL… --on NAME…`` does.
intervals.py        Where a difference would lie with other queries, and with other seeds too: 95 % intervals that
                    hold for few of both.
results.py          Results of evaluations on disk, read back and checked: the same queries and passages, a value a
                    query.
results_table.py    Results of models on benchmarks as text: a line a test set, and the mean of each benchmark.
significance.py     Is one model better than another on these queries, or could it be chance? Paired over queries.
compare/            Compares models: differences with intervals and p-values, the verdict, and all of it as text.
formats/            Results as other tools write and read them: mteb, trec_eval.
leaks/              Test queries that stand in the training data.
scoring/            One model scored on one test set: measures, prompts, BM25, MKQA.
"""
