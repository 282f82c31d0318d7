"""Results in the formats of other tools: mteb and trec_eval.

mteb_results.py  Writes results in mteb 2's format (``mteb.TaskResult``), for model cards, leaderboards and mteb's
                 tables.
trec_run.py      The text of a TREC run file: which passages were found for each query. trec_eval, pytrec_eval and
                 ranx read it.
"""
