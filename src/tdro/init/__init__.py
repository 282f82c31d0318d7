"""``tdro init``: looks at somebody's files and writes a commented recipe for them that runs as it is.

write_recipe.py    The command's work from beginning to end.
columns.py         Decides which columns of a file are the query, the positives and the negatives, or asks.
files_as_tasks.py  Builds each file as a task, as a run would, and counts its rows, tokens and problems.
hold_out.py        Makes a test set of some of a task's queries, for ``--hold-out``.
mixture_rules.py   Chooses the mixtures to compare, by what was measured for models of the base's kind.
settings_rules.py  Chooses steps, batch, lengths and the other settings by simple rules.
recipe_text.py     Writes the recipe's YAML with its comments.
"""
