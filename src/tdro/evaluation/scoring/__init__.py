"""Scores a model on test sets: what to score on, with which prompts, the measures, and the BM25 baseline.

bm25_baseline.py    BM25 as a baseline: what matching words alone gives on a test set, written to the same files as a
                    model's results.
combine_results.py  Combines the results of a benchmark's parts into one: CQADupStack's of its forums, MKQA's of its
                    languages.
development.py      Scores a model on development sets while it trains, as sentence-transformers' trainer asks its
                    evaluator to.
evaluate.py         Evaluates a model on test sets: a JSON file for each test set with the measures of every query,
                    and a TREC run file.
evaluate_mkqa.py    Evaluates a model on MKQA and writes, for each language, the same files as for other test sets.
find_benchmark.py   Finds what ``tdro evaluate --on NAME`` means: some test sets (:mod:`tdro.data.testsets.find`), or
                    MKQA.
metrics.py          nDCG, Recall, MRR, MAP and Accuracy at k of each query, as trec_eval defines them.
mkqa.py             Cross-lingual MKQA as the paper measures it: questions in 25 languages are to find English
                    passages with the answer.
model_prompts.py    Decides which text is put before the queries and passages of a test set: an instruction, or the
                    model's own prompt.
"""
