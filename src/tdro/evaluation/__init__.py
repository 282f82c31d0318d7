"""Evaluation: scores models on test sets (``scoring/``), then compares them (``compare/``).

claimed_folder.py   Notes which model the results in a folder are of, so that a folder never holds the results of two
                    models.
evaluate_models.py  Evaluates any models on benchmarks: ``tdro evaluate MODEL… --on NAME…``.
intervals.py        95 % intervals of a difference between two models: over other queries, and over other queries and
                    seeds.
judged.py           Which test queries judge models: those that no compared model's weights were learned on.
results.py          Reads results of evaluations from disk and checks them: the same queries and passages, one value
                    for each query.
results_table.py    Results of models on benchmarks as text for a terminal: a line for each test set, and the mean of
                    each benchmark.
significance.py     The p-value of a difference between two models, by a paired permutation test over queries, and
                    Holm's correction.
compare/            Compares models: differences with intervals and p-values, the verdict, and all of it as text.
formats/            Results in the formats of other tools: mteb and trec_eval.
leaks/              Finds test queries that are in the training data.
others/             Results of other people's systems: run files, predictions, and tables of means.
scoring/            Scores a model on test sets: what to score on, with which prompts, the measures, and the BM25
                    baseline.
"""
