"""Training on sentence-transformers' trainer: the steps, the losses, checkpoints, ranks.

checkpoints.py       The checkpoints of a training's folder: which are there, and which of them are whole.
finetune.py          Stages 0 and 2: fine-tune an embedder on homogeneous batches whose tasks are drawn by weight.
gradient_factors.py  Loss reweighting: the gradient of each step times its task's factor, after it was clipped.
in_batch_loss.py     The fine-tuning loss: InfoNCE over hard, in-batch and cross-device negatives (stages 0 and 2).
micro_batches.py     Where a length-sorted batch is cut into micro-batches, so that little padding is left.
one_device.py        Training arguments for a process that uses one device, the one that is named.
schedules.py         Learning rates with warm-up, decay and a floor.
sharded.py           FSDP: a model whose parameters are cut into shards, one a rank, and how it becomes whole again.
sorted_loss.py       What both losses share: embed the whole batch in length-sorted micro-batches, then compute one
                     loss over all of it.
stacking.py          The columns of a batch in as few forward passes as they allow: stacked, sorted by length, cut
                     into micro-batches.
steps.py             The steps of a plan as batches that sentence-transformers' trainer reads.
trainer.py           sentence-transformers' trainer, reading a plan and writing checkpoints that are whole or not
                     there.
"""
