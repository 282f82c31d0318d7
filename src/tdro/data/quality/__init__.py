"""What is wrong with training data (``tdro data check``), what it holds (``describe``), and which rows to remove
(``dedup``).

check.py            Checks training data: finds what is wrong, by file and line, and says what a run would do about it.
check_report.py     What a check has found: the numbers of each task, and how many problems there are of each kind.
check_table.py      Prints what a check has found: examples of each kind of problem, and a table of the tasks.
bad_rows.py         Writes every problem that a check finds, with the row that has it, as a line of JSON.
row_facts.py        What a check keeps of every row, to find in the end those that do not fit their task.
outliers.py         Decides which rows do not fit: a repeated query, another script or language, an extreme length.
misfits.py          Turns these rows into problems with file and line.
scripts.py          Tells the script that most of a text is written in: Latin, Han, Cyrillic, …
languages.py        Tells the language of a text, with py3langid.
even_sample.py      A sample of a stream of texts, evenly spread over it: whose languages are identified.
data_card.py        Makes a data card: what the tasks of a mixture hold, in numbers and a few samples.
data_card_table.py  Prints a data card: a line a task, licences and sources, and samples cut to the terminal's width.
dedup.py            Decides which rows to remove because a test query, or another row, has nearly the same text.
dedup_files.py      ``tdro data dedup``: reads a mixture or data files, writes what is left and an audit.
dedup_table.py      Prints what a deduplication found.
"""
