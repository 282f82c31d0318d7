"""Test queries that stand in the training data.

find_leaks.py        Does the training data hold test queries? Near-duplicates of each test set's queries among the
                     training queries.
model_leaks.py       Leaks of models that are evaluated on benchmarks: were they trained on the test queries?
trained_on.py        What was a model trained on? As its run folder says it, or its card; nothing is read or loaded
                     here but these.
training_queries.py  The queries of a data set that some model was trained on, from wherever they can be had without
                     much ado.
"""
