"""Whole mixtures: a mixture folder, a recipe's sources, or paths on a command line become tasks; tasks become a folder.

folder.py       Reads a mixture folder: ``mixture.json``, a JSONL file a training task, a BEIR folder a test set.
strict_rows.py  Reads the rows of a task's file in a mixture folder; the first wrong row is an error.
build.py        Builds a task: its source's rows are checked once and written as Arrow files into the cache.
built.py        A built task: the folder in the cache, what became of the source's rows, and its rows.
row_files.py    Writes a task's rows to Arrow files, and opens them memory-mapped.
content.py      The digest of a task's rows: equal rows have an equal one, wherever they come from.
facts.py        The few facts of the training data on which the stages of a run depend; they are kept in ``run.json``.
from_recipe.py  The mixture of a recipe with sources: every source is built.
from_paths.py   The mixture of a command that reads whole tasks: its paths are a mixture, a recipe, or a file a task.
paths.py        The raw rows that a data command's paths name: a mixture folder's, a recipe's, or one source's.
write.py        Writes a mixture to a new folder, which folder.py reads.
"""
