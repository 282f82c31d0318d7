"""Task-level DRO, the paper's algorithm: measures, the learner that moves the weights, the loss.

callback.py        TDROCallback: α in the checkpoints of anybody's trainer, and back from them.
health.py          Health of stage 1: what to tell the user while it runs, and what the report says afterwards.
infonce.py         InfoNCE over a row's own hard negatives, and the weights of rows.
learner.py         WeightLearner: exponentiated gradient ascent on α, (α, M) to the next α.
live_reference.py  The reference scored on the fly, for those who plug the loss into a trainer of their own.
loss.py            Stage 1 as a loss: measure the tasks, move α, weigh the rows by the new α.
measures.py        Measures M_g: how much headroom each task has at a step.
same_tokens.py     Whether two models read the same token ids: the reference is given those that the proxy's tokenizer
                   made.
step_guard.py      That α moves once a step of the optimizer, whoever trains.
weights_table.py   Weights of tasks as a table for a terminal: what they are, and what training by them would repeat.
"""
