"""Results of other people's systems, so that ``tdro compare`` can put them beside tdro's own.

beside_own.py    Puts other people's systems beside tdro's own results: the same queries in the same order, each model
                 with a name.
find_systems.py  Finds run files, predictions and tables of means in the places that were named, and which system and
                 test set each is of.
mean_scores.py   Reads files that have means only: mteb's results and sentence-transformers' CSV.
qrels.py         Reads judgements (qrels), of BEIR or of TREC, of one test set or of many.
run_file.py      Reads which passages a system found: TREC run files, mteb's predictions, sentence-transformers'
                 predictions.
score_run.py     The measures of every query of a run, as trec_eval computes them.
"""
