"""Training on sentence-transformers' trainer: steps of a plan, losses over whole batches, checkpoints, ranks.

The trainer:
finetune.py          ``finetune``: stages 0 and 2, on batches of one task each, whose tasks are drawn by weight.
trainer.py           sentence-transformers' trainer, reading the steps of a plan; training continues after a kill.
arguments.py         The stock trainer's arguments for a recipe's training settings.
steps.py             The steps of a plan as batches that the trainer reads.
ahead.py             Puts the batches of the next steps together in a thread.
development.py       The curve of the scores on development sets in a training, its best step, and early stopping.
finite_loss.py       Notices the first step whose loss is NaN or infinite, and a model that is.
checkpoints.py       Which checkpoints a folder has, and which of them are complete.
schedules.py         Learning rates with warm-up, decay and a floor.
one_device.py        Training arguments for a process that uses one device, the one that is named.
sharded.py           FSDP: train a model whose parameters are cut into shards over several ranks.
tracking.py          Experiment trackers, such as TensorBoard: which training reports to what.
progress_bar.py      The progress bar of a training.

The losses:
sorted_loss.py       What all losses share: embed the batch in micro-batches, then compute one loss over all of it.
stacking.py          Stack the columns of a batch, sort them by length, cut them into micro-batches, and undo it.
micro_batches.py     Where a sorted batch is cut, so that little padding is left.
in_batch_loss.py     The fine-tuning loss: InfoNCE over hard, in-batch and cross-device negatives.
gradient_factors.py  Loss reweighting, for comparison: multiply the gradients of each task by a factor.
"""
