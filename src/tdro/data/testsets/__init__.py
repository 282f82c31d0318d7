"""Test sets: benchmarks by name, mteb's tasks, and folders in BEIR's layout.

beir_data.py   Read a test set from a BEIR folder: its passages, its queries, and how relevant which passage is to
               which query.
benchmarks.py  The benchmarks by name: which test sets they have, which split of each counts, and where local copies
               may lie.
halves.py      Which half of a test set's queries weights may be learned on, and which half judges them.
find.py        Find test sets by a name: a folder, a benchmark (``beir``), or an mteb task; each becomes a BEIR
               folder.
mteb_task.py   Turn mteb's retrieval tasks into BEIR folders: mteb's own loader reads them, and they are written once.
passages.py    A test set's passages: ids in a compact array, texts read from their file when they are asked for.
test_texts.py  The texts that training data must not contain: the queries of test sets, and the passages that answer
               them.
"""
