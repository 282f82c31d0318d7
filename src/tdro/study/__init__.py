"""Studies: questions about learned weights, each a file, answered on the user's own data.

A study names variants of a recipe. Following one: ``engine.py`` makes what is missing and writes the answer.

schema.py          A study as a file: its keys, the built-in ones (``builtin/``), and how one is read.
variants.py        The variants of a study: every point of its figure, with what it is compared with.
settings.py        The keys that a study sets: what a variant's settings make of the user's recipe.
task_changes.py    Changes of the training data: fewer tasks, fewer rows, a task that is disturbed.
weight_changes.py  Changes of learned weights: noise, exchanged tasks, shuffled weights.
work.py            What a study needs done, piece by piece; pieces that several variants need are there once.
pieces.py          A piece of work: a reference, learned weights, or a training that is scored. Each is kept.
cost.py            What a study will cost, before anything runs.
workers.py         Makes pieces in this process, or in several processes of this machine.
on_ray.py          Makes pieces on a Ray cluster.
engine.py          Runs a study from its file to its answer.
findings.py        The numbers: scores against what they are compared with, and what the weights are like.
kept.py            How much of the data a variant keeps, and which test sets are of tasks that it left out.
curves.py          What the curves say: the knee of selections, where a gain ends, the steps that are saved.
stage_one_facts.py What the log of a stage 1 says of each task, and the signs for a forecast.
calibration.py     Forecasts of the gain against outcomes.
answer.py          The numbers in words: a sentence, a table, what is not known.
figure.py          The figure, as SVG.
outputs.py         Writes the answer as JSON, CSV and HTML.
"""
