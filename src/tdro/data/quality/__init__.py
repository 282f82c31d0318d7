"""What is wrong with training data, what it holds, and which rows leave it.

bad_rows.py         Every problem that a check finds, with the row that has it, as a line of JSON.
check.py            What is wrong with training data, by file and line, and what is done about it; nothing is changed.
check_table.py      A check as text for a terminal: examples of each kind of problem, the worst first, and the tasks
                    as a table.
data_card.py        A data card: what the tasks of a mixture hold, in numbers and samples.
data_card_table.py  A data card as text for a terminal: a line a task, licences and sources, and samples cut to the
                    terminal's width.
dedup.py            Near-duplicates leave the training rows: first those of test queries, then those of other training
                    rows.
dedup_files.py      ``tdro data dedup``: a mixture folder or data files in, a new mixture folder and an audit out.
languages.py        The language of a text, by py3langid: naive Bayes over the byte n-grams of 139 languages, offline.
outliers.py         Rows that do not fit their task: the same query again, another script or language, a length of
                    another order.
row_facts.py        What a check keeps of every row, to compare it with its task in the end: lengths, scripts,
                    languages, queries.
scripts.py          The script that most of a text is written in: Latin, Han, Cyrillic, Thai, by Unicode's names of
                    the letters.
"""
