"""What a run leaves for people to read: ``report.html``, and a model card in each fine-tuned model's folder.

Both are filled from the files of the run folder alone, so either can be written again at any time.

run_contents.py        Reads a run folder into plain data; a file that is not there yet is None.
learning_files.py      Reads what learning leaves there: the steps of stage 1, and which task helped which.
published_files.py     What of a fine-tuned model is published on the hub.
report_page.py         Writes ``report.html``: collects the sections below and fills ``report_page.html``.
gain_section.py        Which task helps which: the map and its sentence.
comparison_section.py  The comparison of mixtures: verdict, table, interval charts, table over test sets.
development_section.py How the models scored on the development sets while they trained.
score_chart.py         The chart of these scores, as SVG.
weights_section.py     The learned weights, what the selection keeps, and the epochs of each task.
learning_section.py    How stage 1 went: α over the steps, the losses, the health of the reference.
data_section.py        What the tasks hold, and the test queries that were found in the training data.
charts.py              The charts, as SVG inside the page.
heat_map.py            The map of which task helps which, as SVG.
words.py               Numbers, mixtures and verdicts as words: ``18.2 %``, ``2 min 05 s``.
hide_paths.py          Takes this machine's paths out of whatever is shown.
card_base.py           The model that was fine-tuned, as a model card names it.
model_card.py          Writes a model's ``README.md`` by filling ``model_card.md``.
"""
