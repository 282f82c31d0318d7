"""Commands besides the stages of a run, one a file: each declares its arguments, calls one function, and prints.

A module has ``add(commands)``, which registers its parser with a handler as ``function``. Nothing heavy is imported at
the top of these modules: they all are imported for ``tdro --help``.

compare.py        ``tdro compare PLACE…``: differences between evaluated models, with intervals, p-values and queries
                  to read.
data.py           ``tdro data …``: commands for the data of a recipe, one a module.
data_build.py     ``tdro data build RECIPE``: build a recipe's sources, and nothing else.
data_check.py     ``tdro data check FILES…``: what is wrong with training data, by file and line, and what a run does
                  about it.
data_dedup.py     ``tdro data dedup MIXTURE``: near-duplicates of test queries, and of each other, leave the training
                  rows.
data_describe.py  ``tdro data describe MIXTURE``: what the tasks of a mixture hold: rows, lengths, negatives,
                  duplicates, samples.
data_mine.py      ``tdro data mine MIXTURE --out FOLDER``: hard negatives for the rows that lack them.
evaluate.py       ``tdro evaluate``: the stage of a run, or with ``--on`` any models on benchmarks.
init.py           ``tdro init FILES… --base MODEL``: a commented recipe for somebody's own files.
inspect.py        ``tdro inspect MODEL``: what a model is, what tdro would make of it, and what is wrong with it.
plan.py           ``tdro plan RECIPE``: rows, epochs, tokens, memory and time, before anything runs.
weights.py        ``tdro weights FILE``: learned weights as a table.
"""
