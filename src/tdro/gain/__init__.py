"""Transfer gain: which task helps which, measured by short trial trainings, as a second way to learn weights.

learner.py   GainLearner: moves the weights α by a matrix of gains; no torch.
held_out.py  Which rows of each task are kept from training, to measure losses on.
rounds.py    Which steps a round has, and which rows its steps and its trials read.
losses.py    The losses on the held-out rows of every task, or on the target's.
trials.py    A trial: keep the state of a training, train a few steps on one task, measure, put the state back.
trainer.py   The trainer of the proxy: measures at the beginning of each round, and trains by α in between.
learned_weights.py  The weights that a recipe's mixtures are made of: tDRO's, those of gain, or both.
target.py    What the gain is measured on if the recipe names a target.
looked_at.py  Which test queries the weights of a run were learned on: ``weights/gain/target.json``.
words.py     What a matrix says in a sentence: who gives most, and who is hurt.
stage.py     The stage from its inputs to ``weights/gain/weights.json``.
"""
