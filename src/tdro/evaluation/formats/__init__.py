"""Results as other tools write and read them: mteb, trec_eval.

mteb_results.py  Results as mteb 2 writes them (``mteb.TaskResult``), for model cards, leaderboards and mteb's tables.
trec_run.py      A run as a TREC file, which trec_eval, pytrec_eval, ir_measures and ranx read.
"""
