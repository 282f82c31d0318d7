"""The report that a run leaves behind.

card.py        The model card: ``README.md`` in a fine-tuned model's folder, filled from what the run folder holds.
charts.py      Charts as inline SVG: pure functions from numbers to strings.
collect.py     Read a run folder into plain data.
comparison.py  The comparison of mixtures as plain rows: verdict, table, interval charts, and the table over test
               sets.
html.py        The report: one HTML file that needs nothing else and can be mailed.
learning.py    How the weights were learned, as plain rows: α over the steps, the losses, and the health of the
               reference.
public.py      What a page or card may show to everybody: no path of the machine that made it, and no characters that
               hide others.
sentences.py   Numbers and names as words: what the page and the card say, beside
               :mod:`tdro.evaluation.compare.readable_numbers`.
tables.py      The weights and the epochs as plain rows, and the order and selection that all sections share.
"""
