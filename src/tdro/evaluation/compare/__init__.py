"""Differences between models, with intervals and p-values, and what may be said of them.

compare.py           Compare models: means over test sets, spread over seeds, and paired tests against a baseline.
compare_table.py     A comparison as text for a terminal: which is best first, then the means, the variances, and
                     every test set.
examples.py          Queries to read: which gained and lost most against the baseline, what is right, and what each
                     model ranked first.
readable_numbers.py  Numbers as people read them, the same in the terminal, the report and the model card.
same_model.py        Whether two rows of a comparison are one model: then nothing was compared, and no interval or p
                     says anything.
verdict.py           What a comparison shows of a model and its baseline: a word and a sentence, from the comparison's
                     numbers alone.
"""
