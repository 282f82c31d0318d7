"""One model scored on one test set: measures, prompts, BM25, MKQA.

bm25_baseline.py    BM25 as a baseline: what matching words alone gives on a test set, written to the same files as a
                    model's results.
combine_results.py  Combines the results of a benchmark's parts into one: CQADupStack's of its forums, MKQA's of its
                    languages.
evaluate.py         Evaluates a model on test sets: a JSON file for each test set with the measures of every query,
                    and a TREC run file.
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
