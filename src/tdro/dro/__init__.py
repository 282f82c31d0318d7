"""Task-level DRO, the paper's algorithm: measures, the learner that moves the weights, the loss.

α are the weights of the tasks, k of them; M_g is the measure of task g. ``stage_one/`` runs the algorithm for
``tdro learn``; the files here also work in a training script of one's own.

callback.py        TDROCallback: keeps α in the checkpoints of any ``SentenceTransformerTrainer``, and restores it.
health.py          Health of stage 1: what the user is told while it runs, and what the report says afterwards.
infonce.py         InfoNCE over a row's own hard negatives, and the weights of rows.
learner.py         WeightLearner: moves the task weights α by one step of exponentiated gradient ascent.
live_reference.py  The reference scored at each step, for those who use TDROLoss in a script of their own.
loss.py            TDROLoss, stage 1 as a loss: measure the tasks, move α, weigh the rows by the new α.
measures.py        Measures M_g: how much headroom each task has at a step.
reference_health.py Whether a reference is fit to learn weights against.
same_tokens.py     Check that proxy and reference read the same token ids.
step_guard.py      StepGuard: makes sure that α moves exactly once in each step, whichever trainer is used.
step_record.py     What one step of stage 1 did: the line that ``weights/steps.jsonl`` has of it.
weights_table.py   The weights of the tasks as a table for a terminal, with how often training by them would repeat
                   each task.
"""
