"""Whole mixtures: mixture folders, recipes' sources, and paths on a command line become tasks; tasks become folders.

build.py        A source becomes rows on disk: checked once, written as Arrow files that are memory-mapped from then
                on.
content.py      What a task's rows hold, as a digest: equal rows have an equal one, whoever made them and however they
                lie on disk.
facts.py        What the keys of a run need to know of its training data: a few values, which outlive the data in
                ``run.json``.
folder.py       A mixture folder: ``mixture.json``, a JSONL file a training task, a BEIR folder a test set.
from_paths.py   What the paths on the line of a command mean that reads whole tasks: a mixture, a recipe's sources, or
                a task a file.
from_recipe.py  The mixture that a recipe's sources and test sets make: every source built, every test set's files
                there.
paths.py        What a path on a data command's line means: a mixture folder, a recipe, or a source of one task.
write.py        A mixture written to a new folder: what :mod:`tdro.data.mixtures.folder` reads.
"""
