"""Compares models: differences with intervals and p-values, the verdict, and all of it as text.

against_baseline.py  The difference of one mixture from its baseline: paired tests, intervals, and queries won and
                     lost.
at_sizes.py          What a comparison says of embeddings that are cut to smaller sizes.
compare.py           Compares models: reads the results of a group, or of several places, and says how they differ.
compare_results.py   What a comparison says of each mixture: means over test sets, spread over seeds, and tests against
                     its baseline.
compare_table.py     A comparison as text for a terminal: which mixture is best, then means, variances, and each test
                     set.
comparison_cells.py  The cells of these tables: points, intervals, differences and p as people write them.
examples.py          Queries to read: which gained and lost most against the baseline, with what is relevant and what
                     was ranked first.
lost_in_transfer.py  A loss after the transfer: learned weights by which a model becomes worse than by uniform.
means_only.py        Systems of which only means are known: shown beside a comparison, and said to be untestable.
readable_numbers.py  Writes numbers the same way in the terminal, the report and the model card.
same_model.py        Finds rows of a comparison that are one and the same model, whose difference, interval and p mean
                     nothing.
tracked_values.py    A comparison as values for experiment trackers.
uniform_longer.py    How many times the steps uniform needs for what a mixture reaches, from uniform trained longer.
verdict.py           The verdict of a comparison, in a word and a sentence: did a model beat its baseline?
"""
