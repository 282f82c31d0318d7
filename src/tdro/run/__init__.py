"""A run: its stages, its folder, and what need not be done again.

describe_files.py  ``tdro data describe``: the card of what the command's paths name, and the tokenizer that its
                   lengths are in.
folder.py          A run's folder: what is done, from which inputs, and whose it is.
pipeline.py        The stages of a run, in order: reference, weights, fine-tunings, evaluation, report.
stage_one.py       Stage 1 of a run: which rows the references and the proxy read, the scores, the warnings before,
                   and the weights.
stages.py          What each training of a run is made from, and how: its inputs, under the recipe's names, and the
                   call that makes it.
workspace.py       What the stages of a run share: facts and keys of the training data, the mixture with its
                   negatives, base models, and tokens. Each is made once, when it is first asked for, so that a run
                   whose stages are all done mines and loads nothing.
"""
