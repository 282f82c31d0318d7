"""The commands, one a file, all of one shape.

A command's file has ``NAME``, ``SUMMARY`` and ``EXAMPLE``, which are its help; ``add_arguments(parser)``; and
``run(options)``, which calls one function of another room and prints what it returns. All of these files are imported
for ``tdro --help``, so nothing heavy is imported at their top: ``run`` imports what it needs.

parser.py         Builds the parser: which commands there are, in the order of ``tdro --help``.
arguments.py      Arguments that several commands share, and the types of numbers.
output.py         How a command prints its answer: as text, or with ``--json`` as numbers.
recipe_stages.py  Runs stages of a recipe: what ``run`` and the commands of the stages call.

run.py            ``tdro run RECIPE``: all stages.
reference.py      ``tdro reference RECIPE``: stage 0.
learn.py          ``tdro learn RECIPE``: stage 1.
finetune.py       ``tdro finetune RECIPE``: stage 2.
evaluate.py       ``tdro evaluate RECIPE``, or with ``--on`` any models on benchmarks.
report.py         ``tdro report RECIPE``: the HTML report.
init.py           ``tdro init FILES… --base MODEL``: a recipe for somebody's own files.
plan.py           ``tdro plan RECIPE``: rows, tokens, memory and time, before anything runs.
recipe.py         ``tdro recipe NAME``: a built-in recipe, or with ``--keys`` what every key means.
sample.py         ``tdro sample``: the sample mixture.
data_build.py     ``tdro data build RECIPE``: builds a recipe's sources and nothing else.
data_check.py     ``tdro data check FILES…``: what is wrong with training data, by file and line.
data_dedup.py     ``tdro data dedup MIXTURE``: takes near-duplicates of test queries out of the training rows.
data_describe.py  ``tdro data describe MIXTURE``: what the tasks hold.
data_mine.py      ``tdro data mine MIXTURE --out FOLDER``: hard negatives for the rows that lack them.
compare.py        ``tdro compare PLACE…``: differences between evaluated models.
study.py          ``tdro study NAME RECIPE``: a study of learned weights; without a name, lists the studies.
weights.py        ``tdro weights FILE``: learned weights as a table, or as settings of another trainer.
inspect.py        ``tdro inspect MODEL``: what a model is, and what tdro would make of it.
push.py           ``tdro push MODEL OWNER/NAME``: uploads a model to the hub.
"""
