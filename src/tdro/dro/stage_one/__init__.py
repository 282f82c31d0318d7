"""Stage 1: plan the rows, score them with the reference ahead of training, then train the proxy and learn the weights.

plan.py              The plan of stage 1: which rows the references and the proxy read, and which reference scores which
                     row.
scoring.py           The frozen reference's similarities of the planned rows, computed once and kept on disk.
reference_losses.py  How well the references and the untrained base do on each task: what stage 1 is warned by before
                     it starts.
learn.py             Train the proxy on mixed batches and learn α from the reference's scores.
choose_alpha.py      The three weights that stage 1 keeps (α of the last step, its mean, its moving average), and which
                     one is used.
stage.py             Stage 1 from its inputs to ``weights.json``: score the planned rows, judge the reference, learn the
                     weights.
"""
