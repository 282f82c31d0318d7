"""Finds test queries that are in the training data.

find_leaks.py        Finds test queries that are in the training data: those that have a near-duplicate among the
                     training queries.
model_leaks.py       Checks models that were evaluated on benchmarks: were they trained on the test queries?
trained_on.py        Finds out what a model was trained on, from its run folder or its card. The data itself is not
                     read here.
training_queries.py  Reads the queries of a data set that a model was trained on, from wherever they are quickly
                     found.
"""
