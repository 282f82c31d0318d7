"""`tdro init`: a recipe for somebody's own files.

columns.py        Which columns of a file are the query, the positives and the negatives, as a recipe must say it.
hold_out.py       A test set from a task's own rows: some of its queries leave training and are searched for among its
                  passages.
look_at_files.py  Somebody's files, looked at: each is built as a task, and its numbers are taken.
recipe_text.py    The recipe as text: YAML with a comment wherever the reader may want to change something.
rules.py          Settings for somebody's files on this machine, by rules that fit in a comment of the recipe.
write_recipe.py   ``tdro init``: files looked at, settings by rules, and a recipe that is known to load before it is
                  written.
"""
