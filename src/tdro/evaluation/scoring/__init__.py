"""One model scored on one test set: measures, prompts, BM25, MKQA.

bm25_baseline.py    BM25 as a baseline: what matching words alone gives on the same test sets, in the same files as a
                    model's.
combine_results.py  One result of several: CQADupStack of its forums, MKQA of its languages.
evaluate.py         Evaluate a model on test sets: a JSON file per test set with every query's measures, and the run
                    itself.
evaluate_mkqa.py    Evaluate a model on MKQA and write, for each language, the files that other test sets have.
find_benchmark.py   What ``tdro evaluate --on NAME`` evaluates on: test sets, found as :mod:`tdro.data.testsets.find`
                    does, or MKQA.
metrics.py          nDCG, Recall, MRR, MAP and Accuracy at k, per query, from ranks and judgements, as trec_eval
                    defines them.
mkqa.py             Cross-lingual MKQA as the paper measures it: questions in 25 languages, English passages, found by
                    their answers.
model_prompts.py    What stands before the queries and the passages of a test set: the user's instruction, or the
                    model's own prompts.
"""
