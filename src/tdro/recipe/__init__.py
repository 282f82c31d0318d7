"""The recipe: every setting of a run, typed, checked and explained.

schema.py             The recipe as a whole; :func:`load_recipe` reads a file.
training_sections.py  The sections about models and trainings: ``base``, ``reference``, ``weights``, ``gain``.
finetune_section.py   The section of a group of fine-tunings: which mixtures it trains, with which seeds.
data_sections.py      The sections ``data`` and ``negatives``: training tasks, test sets, mining.
target_section.py     The section ``gain.target``: what the user cares about.
section.py            What all sections share: strict types, and the types of names, seeds and lists.
rules.py              The checks of a value that types cannot express, such as "this folder exists".
source_kinds.py       Tells from its text alone whether a source is a data file, a file on the hub, or a data set there.
yaml_lines.py         Reads YAML and remembers the line of each key; refuses keys that are given twice.
explain_errors.py     Turns what is wrong with a recipe into messages: file, line, key and the nearest right spelling.
messages.py           Small parts of these messages: a quoted text, "did you mean …?".
json_schema.py        The JSON schema of a recipe, by which editors complete and check it.
keys_page.py          ``docs/recipe.md`` and ``tdro recipe --keys``, made from the schema.
names.py              Names that several rooms must agree on: stages, mixtures in their order, models' folders.
builtin/              The recipes that come with tdro.
"""
