"""Test sets: benchmarks by name, mteb's tasks, folders in BEIR's layout.

beir_data.py   Read a BEIR folder: passages, queries, and which passage is how relevant to which query.
benchmarks.py  The benchmarks by name: which test sets they have, on which split, and where a local copy of each may
               lie.
find.py        From a name to BEIR folders: a folder, a group of test sets, a task of mteb's; local copies come first.
mteb_task.py   mteb's retrieval tasks as BEIR folders: read by mteb's own loader, from the hub or a local copy, and
               written once.
passages.py    A test set's passages: ids in a compact array, texts read from their file when they are asked for.
test_texts.py  What training data must not contain: the queries of test sets, and the passages that answer them.
"""
