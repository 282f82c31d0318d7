"""Stage 1 of a run: the reference's scores ahead of training, then the training that learns the weights.

learn.py        Stage 1: train the proxy on mixed batches and learn α from the reference's scores.
scoring.py      The frozen reference's similarities of the planned rows, computed once and kept on disk.
seen_losses.py  The reference's loss per task, over all planned rows or some: those it was trained on, and those it
                was not.
"""
